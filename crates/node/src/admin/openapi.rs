//! The OpenAPI description of the admin endpoint, made from the types that it answers with.

use utoipa::OpenApi;
use utoipa::openapi::path::{HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::{ContentBuilder, Ref, Required, ResponseBuilder, schema};

use super::answers::{Channel, Channels, ForgottenAnswer, Links, Mesh, NodeAnswer, Ring, Sessions, Slo};

#[derive(OpenApi)]
#[openapi(
    info(title = "Farwire admin endpoint", description = "The whole mesh as one node sees it."),
    components(schemas(Mesh, NodeAnswer, Ring, Links, Channels, Channel, Sessions, Slo, ForgottenAnswer))
)]
struct Document;

/// Every page, what it says and the schema of its JSON, if it is JSON.
const PAGES: &[(&str, &str, Option<&str>)] = &[
    ("/healthz", "The process is alive.", None),
    ("/readyz", "200 when the node takes clients, else 503 and why.", None),
    ("/metrics", "OpenMetrics text for Prometheus.", None),
    ("/openapi.json", "This description.", None),
    ("/v1/node", "The node that answers.", Some("NodeAnswer")),
    ("/v1/mesh", "Everybody who is known.", Some("Mesh")),
    ("/v1/ring", "Who owns how much of the channel space.", Some("Ring")),
    ("/v1/links", "Every link of the mesh, from both of its ends.", Some("Links")),
    ("/v1/channels", "Channels that were published to lately.", Some("Channels")),
    (
        "/v1/channels/{name}",
        "One channel: owners, attachments and rates per region, and how many are present.",
        Some("Channel"),
    ),
    ("/v1/sessions", "Every session of the mesh.", Some("Sessions")),
    ("/v1/slo", "What share of the probes arrived within 250 ms.", Some("Slo")),
    ("/v1/events", "Members, rings and sessions as they change, as server-sent events.", None),
];

/// The paths, for the index page.
pub(crate) const PATHS: [&str; PAGES.len()] = {
    let mut paths = [""; PAGES.len()];
    let mut i = 0;
    while i < PAGES.len() {
        paths[i] = PAGES[i].0;
        i += 1;
    }
    paths
};

/// The description.
pub(crate) fn document() -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    env!("CARGO_PKG_VERSION").clone_into(&mut document.info.version);
    for (path, description, schema) in PAGES {
        document.paths.paths.insert((*path).to_owned(), page(HttpMethod::Get, path, description, *schema));
    }
    let (path, description) = ("/v1/members/{name}", "Forgets a member that will not come back, in the whole mesh.");
    document.paths.paths.insert(path.to_owned(), page(HttpMethod::Delete, path, description, Some("ForgottenAnswer")));
    document
}

fn page(method: HttpMethod, path: &str, description: &str, schema: Option<&str>) -> PathItem {
    let mut response = ResponseBuilder::new().description(description);
    if let Some(name) = schema {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(name))).build();
        response = response.content("application/json", content);
    }
    let mut operation = OperationBuilder::new().summary(Some(description)).response("200", response.build());
    if path.contains("{name}") {
        let text = schema::ObjectBuilder::new().schema_type(schema::Type::String);
        let name = ParameterBuilder::new().name("name").parameter_in(ParameterIn::Path).required(Required::True);
        operation = operation.parameter(name.schema(Some(text)).build());
    }
    PathItem::new(method, operation.build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schema_that_a_page_names_is_described() {
        let document = document();
        let schemas = document.components.expect("has components").schemas;
        for (path, _, schema) in PAGES {
            if let Some(name) = schema {
                assert!(schemas.contains_key(*name), "{path} names {name}");
            }
        }
    }
}
