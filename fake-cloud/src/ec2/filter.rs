//! `Filter.N.Name` and `Filter.N.Value.M`. Which names a kind of thing has, and matching, are the world's.

use super::{error::Refusal, query::Params};
use crate::world::{CloudError, Filter, Filterable, check_filters};

/// The most filters, and values of one filter, that a request may have (EC2's documented 50 and 200).
const FILTERS_MAX: usize = 50;
const VALUES_MAX: usize = 200;

/// Takes the filters of a request for things of kind `T`, refusing those that `T` does not have; also when there is
/// nothing to filter.
pub(crate) fn take<T: Filterable>(params: &mut Params, tagged: bool) -> Result<Vec<Filter>, Refusal> {
    let mut filters = Vec::new();
    for mut part in params.list("Filter")? {
        let name = part.required("Name")?;
        let values = part.texts("Value")?;
        part.no_more()?;
        if values.is_empty() {
            return Err(Refusal::invalid_parameter(format!("The filter '{name}' needs at least one value")));
        }
        limit("filter values", values.len(), VALUES_MAX)?;
        filters.push(Filter { name, values });
    }
    limit("filters", filters.len(), FILTERS_MAX)?;
    check_filters::<T>(&filters, tagged)?;
    Ok(filters)
}

fn limit(what: &'static str, count: usize, limit: usize) -> Result<(), CloudError> {
    if count <= limit { Ok(()) } else { Err(CloudError::LimitExceeded { what, limit }) }
}
