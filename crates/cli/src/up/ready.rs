//! Waiting until nodes are ready: they say so themselves, over their admin endpoints.

use std::time::Duration;

use futures_util::future::join_all;
use serde::Deserialize;
use tokio::time::Instant;

use super::plan::Plan;
use super::processes::{Nodes, State};
use crate::exit::Failure;
use crate::http;

/// Waits until each node is ready and sees all the others alive. Cancel safe.
///
/// # Errors
/// Failed when a node ends, or is not ready in time: with the end of its log.
pub(super) async fn all(plan: &Plan, nodes: &Nodes) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    let everybody: Vec<usize> = (0..plan.nodes.len()).collect();
    wait(plan, nodes, &everybody, deadline, Question::Ready).await?;
    wait(plan, nodes, &everybody, deadline, Question::SeesAll).await
}

/// Waits until one node is ready; the others may be dead or cut off. Cancel safe.
///
/// # Errors
/// As [`all`].
pub(super) async fn one(plan: &Plan, nodes: &Nodes, index: usize) -> Result<(), Failure> {
    wait(plan, nodes, &[index], Instant::now() + PATIENCE, Question::Ready).await
}

#[derive(Debug, Clone, Copy)]
enum Question {
    Ready,
    SeesAll,
}

async fn wait(
    plan: &Plan,
    nodes: &Nodes,
    wanted: &[usize],
    deadline: Instant,
    question: Question,
) -> Result<(), Failure> {
    loop {
        let answers = join_all(wanted.iter().map(|index| question.ask(plan, *index))).await;
        let missing: Vec<usize> = wanted.iter().zip(answers).filter(|(_, yes)| !yes).map(|(index, _)| *index).collect();
        let Some(first) = missing.first() else { return Ok(()) };
        if let Some((index, how)) = missing.iter().find_map(|index| Some((*index, ended(nodes, *index)?))) {
            let what = format!("node {} ended before it was ready ({how})", plan.nodes[index].name);
            return Err(told(&what, nodes, index));
        }
        if Instant::now() >= deadline {
            let what = question.unmet(plan, *first);
            return Err(told(&what, nodes, *first));
        }
        tokio::time::sleep(STEP).await;
    }
}

fn ended(nodes: &Nodes, index: usize) -> Option<String> {
    match nodes.life(index).state {
        State::Ended(how) => Some(how),
        State::Down => Some("not started".to_owned()),
        State::Running | State::Stopped => None,
    }
}

fn told(what: &str, nodes: &Nodes, index: usize) -> Failure {
    Failure::failed(format!("{what}; {}\nmend what the log says, then start again", nodes.log_end(index)))
}

impl Question {
    async fn ask(self, plan: &Plan, index: usize) -> bool {
        let node = &plan.nodes[index];
        match self {
            Self::Ready => {
                let answer = http::get(&node.admin("/readyz"), ANSWER_WITHIN).await;
                answer.is_ok_and(|answer| answer.status.is_success())
            }
            Self::SeesAll => {
                let answer = http::get(&node.admin("/v1/mesh"), ANSWER_WITHIN).await;
                let seen = answer.ok().and_then(|answer| answer.json::<Seen>().ok());
                seen.is_some_and(|seen| seen.alive() >= plan.nodes.len())
            }
        }
    }

    fn unmet(self, plan: &Plan, index: usize) -> String {
        let (name, seconds) = (&plan.nodes[index].name, PATIENCE.as_secs());
        match self {
            Self::Ready => format!("node {name} was not ready within {seconds} s"),
            Self::SeesAll => format!("node {name} did not see all other nodes alive within {seconds} s"),
        }
    }
}

/// The part of `/v1/mesh` that counts here.
#[derive(Deserialize)]
struct Seen {
    members: Vec<Member>,
}

#[derive(Deserialize)]
struct Member {
    state: String,
}

impl Seen {
    fn alive(&self) -> usize {
        self.members.iter().filter(|member| member.state == "alive").count()
    }
}

const PATIENCE: Duration = Duration::from_secs(30);
const STEP: Duration = Duration::from_millis(50);
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
