//! Questions about presence across the nodes: each channel is asked of its owner in this region, over a stream of the
//! link's. Also the owner's side of that stream.

use std::collections::BTreeMap;

use farwire_core::placement::MemberState;
use farwire_transport::{FrameWriter, WriteError};
use farwire_wire::client::{ChannelPresence, PresenceAnswer, ServerBody, ServerFrame, WhereAnswer};
use farwire_wire::limits::{MEMBERS_MAX, SERVER_FRAME_BYTES_MAX};
use farwire_wire::peer::PeerQuery;
use farwire_wire::{ChannelName, ClientId, ErrorCode, NodeName, WireError};
use futures_util::future::join_all;

use crate::peers::{AskError, Path, ask_frames};
use crate::shared::Shared;

/// When to ask again while owners change.
const RETRY_MS: u32 = 250;
/// Room in a frame for what is not counted item by item.
const FRAME_ROOM: usize = 1_024;

/// Who is on these channels, as the frames of one answer.
///
/// # Errors
/// An owner cannot be asked, or does not take itself for the owner: ask again.
pub(crate) async fn query(
    shared: &Shared,
    channels: Vec<ChannelName>,
    occupants: bool,
) -> Result<Vec<PresenceAnswer>, WireError> {
    let mut by_owner: BTreeMap<NodeName, Vec<ChannelName>> = BTreeMap::new();
    for channel in &channels {
        let owner = shared.topology.owner_in_region(&shared.local, channel).ok_or_else(no_owner)?;
        by_owner.entry(owner).or_default().push(channel.clone());
    }
    let asked = by_owner.into_iter().map(|(owner, channels)| ask_owner(shared, owner, channels, occupants));
    let mut answers: BTreeMap<ChannelName, ChannelPresence> = BTreeMap::new();
    for part in join_all(asked).await {
        answers.extend(part?.into_iter().map(|answer| (answer.channel.clone(), answer)));
    }
    // In the order of the question; a channel that was named twice is answered once.
    Ok(frames(channels.iter().filter_map(|channel| answers.remove(channel))))
}

async fn ask_owner(
    shared: &Shared,
    owner: NodeName,
    channels: Vec<ChannelName>,
    occupants: bool,
) -> Result<Vec<ChannelPresence>, WireError> {
    if owner == shared.local.name {
        return shared.presence.ask(channels, occupants).await.unwrap_or_else(|| Err(ErrorCode::GoAway.into()));
    }
    let way = shared.peers.way(&owner).ok_or_else(|| cannot_ask(&owner))?;
    let (link, relay_to) = match &way.path {
        Path::Direct(_) => (way, None),
        Path::Through(relay) => (shared.peers.find(relay).ok_or_else(|| cannot_ask(&owner))?, Some(owner.clone())),
    };
    let query = PeerQuery::Presence { channels, occupants, relay_to };
    let mut joined: Vec<ChannelPresence> = Vec::new();
    let asked = ask_frames(&link, &query, |frame| {
        let answer = match ServerFrame::decode(frame)?.body {
            ServerBody::PresenceAnswer(answer) => answer,
            ServerBody::Error(error) => return Err(AskError::Refused(error)),
            _ => return Err(AskError::Ended),
        };
        let more = answer.more;
        answer.join_to(&mut joined);
        Ok(more)
    });
    match asked.await {
        Ok(()) => Ok(joined),
        Err(AskError::Refused(error)) => Err(error),
        Err(error) => {
            tracing::debug!(node = %owner, err = %error, "owner of channels did not say who is there");
            Err(cannot_ask(&owner))
        }
    }
}

/// Where a client is present, over all nodes that can be asked.
pub(crate) async fn places(shared: &Shared, client: ClientId) -> WhereAnswer {
    let query = PeerQuery::Where(client.clone());
    let members = shared.topology.members();
    let is_gone = |state| matches!(state, MemberState::Left);
    let others = members.iter().filter(|status| status.member.name != shared.local.name && !is_gone(status.state));
    let others: Vec<NodeName> = others.map(|status| status.member.name.clone()).collect();
    let asked = others.iter().map(|node| async {
        let link = shared.peers.find(node).ok_or(AskError::NoLink)?;
        let mut places = Vec::new();
        ask_frames(&link, &query, |frame| match ServerFrame::decode(frame)?.body {
            ServerBody::WhereAnswer(answer) => {
                places.extend(answer.places);
                Ok(answer.more)
            }
            _ => Err(AskError::Ended),
        })
        .await?;
        Ok::<_, AskError>(places)
    });
    let (here, there) = tokio::join!(shared.presence.places_here(client), join_all(asked));
    let mut answer = WhereAnswer { places: here, more: false, unreachable: Vec::new() };
    for (places, node) in there.into_iter().zip(&others) {
        match places {
            Ok(places) => answer.places.extend(places),
            Err(_) if answer.unreachable.len() < MEMBERS_MAX => answer.unreachable.push(node.clone()),
            Err(_) => {}
        }
    }
    answer.places.sort();
    answer
}

/// Answers a peer that takes this node for the owner of channels.
pub(crate) async fn serve_query(
    shared: &Shared,
    mut writer: FrameWriter,
    channels: Vec<ChannelName>,
    occupants: bool,
) -> Result<(), WriteError> {
    let answered = shared.presence.ask(channels, occupants).await.unwrap_or_else(|| Err(ErrorCode::GoAway.into()));
    let bodies: Vec<ServerBody> = match answered {
        Ok(answers) => frames(answers).into_iter().map(ServerBody::PresenceAnswer).collect(),
        Err(error) => vec![ServerBody::Error(error)],
    };
    for body in bodies {
        writer.write(ServerFrame { request: 0, body }.encode()).await?;
    }
    writer.finish_and_wait().await;
    Ok(())
}

/// Asks a node for a peer that has no link to it, and passes the answer on. It takes the link to the node or none, so that
/// nothing goes in a circle.
pub(crate) async fn relay_query(
    shared: &Shared,
    mut writer: FrameWriter,
    to: &NodeName,
    query: &PeerQuery,
) -> Result<(), WriteError> {
    let mut frames = Vec::new();
    let asked = async {
        let link = shared.peers.find(to).filter(|_| shared.peers.is_live(to)).ok_or(AskError::NoLink)?;
        ask_frames(&link, query, |frame| {
            let answer = ServerFrame::decode(frame)?;
            let more = matches!(&answer.body, ServerBody::PresenceAnswer(answer) if answer.more);
            frames.push(answer.encode());
            Ok(more)
        })
        .await
    };
    if asked.await.is_err() {
        frames = vec![ServerFrame { request: 0, body: ServerBody::Error(cannot_ask(to)) }.encode()];
    }
    writer.write_batch(&mut frames).await?;
    writer.finish_and_wait().await;
    Ok(())
}

/// Answers a peer that asks where a client is.
pub(crate) async fn serve_places(shared: &Shared, mut writer: FrameWriter, client: ClientId) -> Result<(), WriteError> {
    let places = shared.presence.places_here(client).await;
    for answer in split_places(WhereAnswer { places, more: false, unreachable: Vec::new() }) {
        writer.write(ServerFrame { request: 0, body: ServerBody::WhereAnswer(answer) }.encode()).await?;
    }
    writer.finish_and_wait().await;
    Ok(())
}

/// Cuts an answer into frames that keep to their limit.
pub(crate) fn split_places(answer: WhereAnswer) -> Vec<WhereAnswer> {
    let WhereAnswer { places, unreachable, .. } = answer;
    let size = |place: &farwire_wire::client::Place| place.channel.as_str().len() + 96;
    let mut chunks = chunks(places, size, unreachable.len() * 40);
    if chunks.is_empty() {
        chunks.push(Vec::new());
    }
    let last = chunks.len() - 1;
    let frame = |(n, places)| WhereAnswer {
        places,
        more: n < last,
        unreachable: if n == 0 { unreachable.clone() } else { Vec::new() },
    };
    chunks.into_iter().enumerate().map(frame).collect()
}

/// Cuts an answer into frames that keep to their limit: a channel with many occupants comes again in the next one.
fn frames(answers: impl IntoIterator<Item = ChannelPresence>) -> Vec<PresenceAnswer> {
    let occupant_bytes = |occupant: &farwire_wire::client::ListedOccupant| {
        occupant.client.as_str().len() + occupant.state.json().map_or(0, str::len) + occupant.node.as_str().len() + 32
    };
    let mut parts: Vec<ChannelPresence> = Vec::new();
    for answer in answers {
        let occupants = chunks(answer.occupants, occupant_bytes, head_bytes(&answer.channel, answer.regions.len()));
        let head = ChannelPresence { occupants: Vec::new(), ..answer };
        if occupants.is_empty() {
            parts.push(head);
        } else {
            parts.extend(occupants.into_iter().map(|occupants| ChannelPresence { occupants, ..head.clone() }));
        }
    }
    let part_bytes = |part: &ChannelPresence| {
        head_bytes(&part.channel, part.regions.len()) + part.occupants.iter().map(occupant_bytes).sum::<usize>()
    };
    let chunks = chunks(parts, part_bytes, 0);
    let last = chunks.len().saturating_sub(1);
    let frame = |(n, channels)| PresenceAnswer { channels, more: n < last };
    chunks.into_iter().enumerate().map(frame).collect()
}

fn head_bytes(channel: &ChannelName, regions: usize) -> usize {
    channel.as_str().len() + 32 + regions * 64
}

/// Items in chunks that fit a frame beside `taken` bytes.
fn chunks<T>(items: Vec<T>, bytes: impl Fn(&T) -> usize, taken: usize) -> Vec<Vec<T>> {
    let room = SERVER_FRAME_BYTES_MAX - FRAME_ROOM;
    let mut chunks: Vec<Vec<T>> = Vec::new();
    let mut used = room;
    for item in items {
        let size = bytes(&item);
        match chunks.last_mut().filter(|_| used + size <= room) {
            Some(chunk) => {
                used += size;
                chunk.push(item);
            }
            None => {
                used = taken + size;
                chunks.push(vec![item]);
            }
        }
    }
    chunks
}

fn no_owner() -> WireError {
    let error = WireError::new(ErrorCode::NotOwner, "the node is not in the ring yet: ask again in a second");
    WireError { retry_after_ms: 1_000, ..error }
}

fn cannot_ask(owner: &NodeName) -> WireError {
    let message = format!("{owner}, which answers for the channel in this region, cannot be asked now: ask again");
    WireError { retry_after_ms: RETRY_MS, ..WireError::new(ErrorCode::NotOwner, message) }
}
