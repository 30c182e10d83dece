//! Amazon Linux 2: a script that calls `/etc/eks/bootstrap.sh`.

use super::{
    kubelet_arguments,
    user_data::{BootPlan, CannotJoin, Named, UserDataFormat},
};

/// Reads the call; none if the script does not call it.
pub(super) fn read(script: &str) -> Option<Result<Named, CannotJoin>> {
    let joined = script.replace("\\\r\n", " ").replace("\\\n", " ");
    let line = joined
        .lines()
        .map(str::trim_start)
        .find(|line| !line.starts_with('#') && line.contains("/etc/eks/bootstrap.sh"))?;
    Some(call(line))
}

fn call(line: &str) -> Result<Named, CannotJoin> {
    let unreadable = || CannotJoin::Unreadable {
        format: "call of `/etc/eks/bootstrap.sh`",
        problem: "a quote is not closed".to_owned(),
    };
    let words = shlex::split(line).ok_or_else(unreadable)?;
    let mut words = words.into_iter().skip_while(|word| !word.ends_with("/etc/eks/bootstrap.sh")).skip(1);
    let mut named =
        Named { plan: BootPlan { format: UserDataFormat::BootstrapScript, ..BootPlan::default() }, ..Named::default() };
    while let Some(word) = words.next() {
        match word.as_str() {
            "--apiserver-endpoint" => named.endpoint = words.next(),
            "--kubelet-extra-args" => {
                let arguments = shlex::split(&words.next().unwrap_or_default()).ok_or_else(unreadable)?;
                kubelet_arguments::apply(&arguments, &mut named.plan)?;
            }
            flag if flag.starts_with("--") => drop(words.next()),
            _ => named.cluster = named.cluster.or(Some(word)),
        }
    }
    Ok(named)
}
