//! Forgetting a member that will not come back: looks whether anybody still sees it, gives the order, and waits until it has its effect here. How
//! the order reaches every node is the matter of `forgotten`.

use std::time::Duration;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use farwire_core::placement::{MemberState, MemberStatus};
use farwire_wire::NodeName;
use farwire_wire::peer::PeerFrame;
use tokio::sync::broadcast::error::RecvError;

use super::answers::ForgottenAnswer;
use crate::events::{Event, Seen};
use crate::shared::Shared;

/// Far more than membership takes for an order.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why a member is not forgotten. Nothing has changed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error("{0}")]
    Name(farwire_wire::names::NameError),
    #[error("the mesh has no member {name}; it has {}", known.join(", "))]
    Unknown { name: NodeName, known: Vec<String> },
    #[error("{name} is the node that you ask: stop it, then ask another one to forget it")]
    Own { name: NodeName },
    #[error(
        "{name} is {state}: only a node that is gone for good is forgotten; stop it first, and wait until it is listed as left or down"
    )]
    Present { name: NodeName, state: &'static str },
    #[error("{} still has a link to {name}: it lives; stop it first", by.join(", "))]
    Linked { name: NodeName, by: Vec<String> },
    #[error("{name} is still listed after {PATIENCE:?}: see `farwire mesh`, and try again")]
    Late { name: NodeName },
}

/// `DELETE /v1/members/{name}`.
pub(super) async fn answer(shared: &Shared, name: &str) -> Response {
    match forget(shared, name).await {
        Ok(answer) => Json(answer).into_response(),
        Err(refusal) => super::problem(refusal.status(), &refusal.to_string()),
    }
}

async fn forget(shared: &Shared, name: &str) -> Result<ForgottenAnswer, Refusal> {
    let name = NodeName::parse(name).map_err(Refusal::Name)?;
    let members = shared.topology.members();
    judge(&shared.local.name, &name, &members, |witness| is_linked(shared, witness, &name))?;
    let mut events = shared.events.watch();
    shared.forgotten.give(name.clone());
    let unlisted = async {
        loop {
            match events.recv().await {
                Ok(Seen { event: Event::Member { name: other, to: None, .. }, .. }) if other == name => return true,
                Ok(_) => {}
                Err(RecvError::Lagged(_)) if !is_listed(shared, &name) => return true,
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return false,
            }
        }
    };
    if !tokio::time::timeout(PATIENCE, unlisted).await.unwrap_or(false) {
        return Err(Refusal::Late { name });
    }
    tracing::info!(node = %name, "member forgotten by order");
    Ok(tell(shared, name))
}

/// Tells every link now; the others hear of it with the first state of their next link.
fn tell(shared: &Shared, forgotten: NodeName) -> ForgottenAnswer {
    let links = shared.peers.all();
    links.iter().for_each(|link| link.say(PeerFrame::State(shared.state())));
    let told: Vec<String> = links.iter().map(|link| link.node.to_string()).collect();
    let members = shared.topology.members();
    let names = members.iter().map(|status| status.member.name.clone()).filter(|name| *name != shared.local.name);
    let later = names.map(|name| name.to_string()).filter(|name| !told.contains(name)).collect();
    ForgottenAnswer { forgotten: forgotten.to_string(), told, later }
}

/// Whether the member may be forgotten as far as this node knows. `is_linked` says whether a member has told of a link to it.
fn judge(
    own: &NodeName,
    name: &NodeName,
    members: &[MemberStatus],
    is_linked: impl Fn(&NodeName) -> bool,
) -> Result<(), Refusal> {
    let name = name.clone();
    if *own == name {
        return Err(Refusal::Own { name });
    }
    let Some(status) = members.iter().find(|status| status.member.name == name) else {
        let known = members.iter().map(|status| status.member.name.to_string()).collect();
        return Err(Refusal::Unknown { name, known });
    };
    match status.state {
        MemberState::Alive => return Err(Refusal::Present { name, state: "alive" }),
        MemberState::Suspect => return Err(Refusal::Present { name, state: "suspect" }),
        MemberState::Down | MemberState::Left => {}
    }
    let witnesses = members.iter().filter(|status| status.reachable && is_linked(&status.member.name));
    let by: Vec<String> = witnesses.map(|status| status.member.name.to_string()).collect();
    if by.is_empty() { Ok(()) } else { Err(Refusal::Linked { name, by }) }
}

fn is_linked(shared: &Shared, witness: &NodeName, name: &NodeName) -> bool {
    if *witness == shared.local.name {
        return shared.peers.find(name).is_some();
    }
    let told = shared.directory.find(witness);
    told.is_some_and(|listing| listing.state.links.iter().any(|link| link.peer == *name))
}

fn is_listed(shared: &Shared, name: &NodeName) -> bool {
    shared.topology.members().iter().any(|status| status.member.name == *name)
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::Name(_) => StatusCode::BAD_REQUEST,
            Self::Unknown { .. } => StatusCode::NOT_FOUND,
            Self::Own { .. } | Self::Present { .. } | Self::Linked { .. } => StatusCode::CONFLICT,
            Self::Late { .. } => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use farwire_core::placement::Member;
    use farwire_wire::RegionName;

    fn node(name: &str) -> NodeName {
        NodeName::parse(name).unwrap()
    }

    fn status(name: &str, state: MemberState, reachable: bool) -> MemberStatus {
        let member = Member { name: node(name), region: RegionName::parse("fra").unwrap(), weight: 1 };
        MemberStatus { member, state, in_ring: true, reachable, link_flaps: 0 }
    }

    /// What fra-1 says when it is to forget a member of which iad-1 may have a link.
    fn judged(name: &str, state: MemberState, linked: bool) -> Result<(), Refusal> {
        let members = [
            status("fra-1", MemberState::Alive, true),
            status("fra-2", state, false),
            status("iad-1", MemberState::Alive, true),
        ];
        judge(&node("fra-1"), &node(name), &members, |witness| linked && witness.as_str() == "iad-1")
    }

    #[test]
    fn only_a_member_that_nobody_sees_is_forgotten() {
        assert_eq!(judged("fra-2", MemberState::Down, false), Ok(()));
        assert_eq!(judged("fra-2", MemberState::Left, false), Ok(()));
        for state in [MemberState::Alive, MemberState::Suspect] {
            assert!(matches!(judged("fra-2", state, false), Err(Refusal::Present { .. })), "{state:?}");
        }
        let linked = judged("fra-2", MemberState::Down, true).unwrap_err();
        assert_eq!(linked.to_string(), "iad-1 still has a link to fra-2: it lives; stop it first");
    }

    #[test]
    fn the_node_itself_and_strangers_are_refused() {
        assert_eq!(judged("fra-1", MemberState::Down, false), Err(Refusal::Own { name: node("fra-1") }));
        let unknown = judged("fra-9", MemberState::Down, false).unwrap_err();
        assert_eq!(unknown.to_string(), "the mesh has no member fra-9; it has fra-1, fra-2, iad-1");
        assert_eq!(unknown.status(), StatusCode::NOT_FOUND);
    }
}
