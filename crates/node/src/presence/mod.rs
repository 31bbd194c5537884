//! Presence at this node: the queue towards the one task that keeps it, and questions to it. Sessions say who enters and
//! leaves, links bring what peers say, and whoever asks gets an answer; what all of it means, `core::presence` decides.

mod asking;
mod keeping;

use farwire_core::presence::Input;
use farwire_wire::client::{ChannelPresence, Place};
use farwire_wire::presence::PresenceFrame;
use farwire_wire::{ChannelName, ClientId, NodeName, WireError};
use tokio::sync::oneshot;

pub(crate) use asking::{places, query, relay_query, serve_places, serve_query, split_places};
pub(crate) use keeping::Keeping;

use crate::queue;

/// Commands that wait for the task; whoever adds one waits for room.
const COMMAND_QUEUE: usize = 1_024;

/// The way to the task that keeps presence.
#[derive(Debug)]
pub(crate) struct Presence {
    commands: queue::Sender<Command>,
}

#[derive(Debug)]
enum Command {
    Input(Input),
    Frame { from: NodeName, frame: PresenceFrame },
    Query { channels: Vec<ChannelName>, occupants: bool, reply: oneshot::Sender<Answered> },
    Where { client: ClientId, reply: oneshot::Sender<Vec<Place>> },
}

/// What the owner of channels knows of them, or why it does not.
type Answered = Result<Vec<ChannelPresence>, WireError>;

impl Presence {
    pub(crate) fn new(meter: queue::Meter) -> (Self, Queued) {
        let (commands, queued) = queue::bounded(COMMAND_QUEUE, meter);
        (Self { commands }, Queued(queued))
    }

    /// A session does something. Cancel safe: either it was taken or not.
    pub(crate) async fn tell(&self, input: Input) {
        let _node_ended = self.commands.send(Command::Input(input)).await;
    }

    /// A peer says something. Cancel safe.
    pub(crate) async fn hear(&self, from: NodeName, frame: PresenceFrame) {
        let _node_ended = self.commands.send(Command::Frame { from, frame }).await;
    }

    /// Asks for channels that this node owns.
    async fn ask(&self, channels: Vec<ChannelName>, occupants: bool) -> Option<Answered> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Query { channels, occupants, reply }).await.ok()?;
        answer.await.ok()
    }

    /// Where a client is at this node.
    async fn places_here(&self, client: ClientId) -> Vec<Place> {
        let (reply, answer) = oneshot::channel();
        let _node_ended = self.commands.send(Command::Where { client, reply }).await;
        answer.await.unwrap_or_default()
    }
}

/// The commands that wait for the task.
#[derive(Debug)]
pub(crate) struct Queued(queue::Receiver<Command>);
