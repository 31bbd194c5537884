//! A session's requests of presence: where it is present, and who is where. Checks the grant and the limits, tells the
//! keeper, and when the session ends says how: a client that said that it goes is gone at once, any other may come back.

use std::collections::BTreeSet;

use farwire_auth::Action;
use farwire_core::bucket::{Bucket, Rate};
use farwire_core::presence::Input;
use farwire_transport::Closed;
use farwire_wire::client::{Enter, PresenceQuery, ServerBody, WhereAnswer};
use farwire_wire::presence::PresenceId;
use farwire_wire::{ChannelName, ClientId, ErrorCode, WireError};

use super::requests::{check_not_reserved, rate_limited};
use crate::presence;
use crate::sessions::Session;
use crate::shared::Shared;

/// Questions of one session that are answered at a time.
const QUESTIONS_MAX: usize = 16;

/// Where a session is present.
pub(super) struct Present<'a> {
    shared: &'a Shared,
    session: &'a Session,
    channels: BTreeSet<ChannelName>,
    /// How often it entered or said something lately.
    updates: Bucket,
    /// The client has ended its requests: it goes, and for good.
    pub(super) has_left: bool,
}

impl<'a> Present<'a> {
    pub(super) fn new(shared: &'a Shared, session: &'a Session) -> Self {
        Self { shared, session, channels: BTreeSet::new(), updates: Bucket::default(), has_left: false }
    }

    fn id(&self) -> PresenceId {
        PresenceId { client: self.session.client_id.clone(), instance: self.session.instance }
    }

    /// The session enters, or says something else of itself. Cancel safe: either it was taken or not.
    pub(super) async fn enter(&mut self, enter: Enter) -> Result<(), WireError> {
        let Enter { channel, state } = enter;
        check(self.session, &channel)?;
        let limits = &self.shared.config.limits;
        let max = limits.presence_channels_per_session_max;
        if self.channels.len() >= max && !self.channels.contains(&channel) {
            let message = format!("the session is present on {max} channels already: leave some");
            return Err(WireError::new(ErrorCode::SubscriptionLimit, message));
        }
        // A client that comes back enters all its channels at once.
        let burst = u32::try_from(max).unwrap_or(u32::MAX);
        let rate = Rate::new(limits.presence_updates_per_second_per_session_max, burst);
        let message = "the session enters and changes its state too often: say less";
        rate_limited(&mut self.updates, &rate, self.shared.local.clock.now(), message)?;
        let (moves, wall_us) = (self.session.connects, self.shared.local.clock.wall_us());
        let input = Input::Enter { id: self.id(), moves, channel: channel.clone(), state, wall_us };
        self.shared.presence.tell(input).await;
        self.channels.insert(channel);
        Ok(())
    }

    /// The session leaves. Cancel safe: either it was taken or not.
    pub(super) async fn leave(&mut self, channel: ChannelName) -> Result<(), WireError> {
        if !self.channels.contains(&channel) {
            return Err(WireError::new(ErrorCode::ProtocolState, "the session is not present on the channel"));
        }
        let input = Input::Leave { id: self.id(), moves: self.session.connects, channel: channel.clone() };
        self.shared.presence.tell(input).await;
        self.channels.remove(&channel);
        Ok(())
    }

    /// The session has ended. A client that goes elsewhere closes with another code than one that goes.
    pub(super) async fn end(self) {
        let closed = self.session.connection.close_reason();
        let left = u64::from(ErrorCode::Closed.number());
        let in_order = self.has_left || matches!(closed, Some(Closed::There { code, .. }) if code == left);
        if !self.channels.is_empty() {
            let input = Input::Ended { id: self.id(), moves: self.session.connects, in_order };
            self.shared.presence.tell(input).await;
        }
    }

    /// Whether the session may ask, with so many questions waiting.
    pub(super) fn check_query(&self, query: &PresenceQuery, waiting: usize) -> Result<(), WireError> {
        check_waiting(waiting)?;
        query.channels.iter().try_for_each(|channel| check(self.session, channel))
    }
}

/// Whether a session may ask one more question.
pub(super) fn check_waiting(waiting: usize) -> Result<(), WireError> {
    if waiting >= QUESTIONS_MAX {
        let message =
            format!("{QUESTIONS_MAX} questions of the session wait already: ask for several channels at once");
        return Err(WireError { retry_after_ms: 250, ..WireError::new(ErrorCode::RateLimited, message) });
    }
    Ok(())
}

fn check(session: &Session, channel: &ChannelName) -> Result<(), WireError> {
    check_not_reserved(channel.as_str())?;
    let forbidden = session.access.check(Action::Presence, channel);
    forbidden.map_err(|error| WireError::new(ErrorCode::Forbidden, error.to_string()))
}

/// The answer to who is there.
pub(super) async fn answer_query(shared: &Shared, query: PresenceQuery) -> Vec<ServerBody> {
    match presence::query(shared, query.channels, query.occupants).await {
        Ok(answers) => answers.into_iter().map(ServerBody::PresenceAnswer).collect(),
        Err(error) => vec![ServerBody::Error(error)],
    }
}

/// The answer to where a client is, of the channels whose presence the asker may see.
pub(super) async fn answer_where(shared: &Shared, session: &Session, client: ClientId) -> Vec<ServerBody> {
    let WhereAnswer { mut places, unreachable, .. } = presence::places(shared, client).await;
    places.retain(|place| check(session, &place.channel).is_ok());
    let answers = presence::split_places(WhereAnswer { places, more: false, unreachable });
    answers.into_iter().map(ServerBody::WhereAnswer).collect()
}
