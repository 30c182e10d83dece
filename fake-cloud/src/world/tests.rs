//! What the world does, as tables and stories.
