//! The SDK that applications use to talk to a Farwire mesh.
//!
//! A [`Client`] holds one session with one node, the nearest that answers or the one that you prefer, and moves on
//! to the next when that node or the network fails. You **publish** messages to channels and **subscribe** to
//! patterns of channels:
//!
//! ```no_run
//! use farwire_client::{Client, ConnectOptions, Event};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::connect(ConnectOptions::from_context(".farwire/mesh.json")?).await?;
//! let mut room = client.subscribe("live.room.>").await?;
//! client.publish("live.room.1", "hello").await?;
//!
//! while let Some(event) = room.next().await {
//!     match event {
//!         Event::Message(message) => println!("{}: {:?}", message.channel, message.payload),
//!         Event::Dropped { count } => println!("fell behind: {count} messages went by"),
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Channels and patterns
//! A channel is a name of segments separated by dots. In a pattern `*` stands for one whole segment and `>` for one or
//! more at the end: `fleet.*.position`, `live.>`. What a channel promises is up to its namespace in the mesh; a
//! *volatile* channel delivers at most once and forgets.
//!
//! # Acks
//! [`Client::publish`] waits until the mesh has taken the message. [`Client::publish_pipelined`] returns as soon as the
//! message is on its way, and hands out a [`PendingAck`]: many messages can be under way, up to a bound.
//!
//! # Back-pressure
//! Nothing here grows without a bound. A subscription has no queue of its own: [`Subscription::next`] reads from the
//! network, so one that is not read holds up nobody else, and the node tells it later how many messages went by.
//!
//! # Presence
//! [`Client::enter`] makes the client present on a channel until the [`Presence`] is dropped; [`Client::presence`] tells
//! who is there, in every region, and [`Client::watch_presence`] who comes and goes. A client that changes nodes was never
//! away; one whose connection is lost for more than ten seconds has timed out.
//!
//! ```no_run
//! use farwire_client::{Client, PresenceState};
//!
//! # async fn example(client: Client) -> Result<(), Box<dyn std::error::Error>> {
//! let mut others = client.watch_presence("live.room.1").await?;
//! let here = client.enter("live.room.1", PresenceState::of(&"in a good mood")?).await?;
//! println!("{} clients are here", client.presence("live.room.1").await?.clients);
//! while let Some(update) = others.next().await {
//!     println!("{update:?}");
//! }
//! here.leave().await?;
//! # Ok(())
//! # }
//! ```
//!
//! [`Client::occupancy`] counts for up to a thousand channels at once, [`Client::watch_occupancy`] tells sums and no names,
//! and [`Client::locate`] finds the channels that a client is on.
//!
//! # When the connection is lost
//! The client reconnects for ever, with growing random pauses: to another node of the region first, then to any. It takes
//! its subscriptions along, and [`Client::status`] tells. Calls that publish and subscribe wait meanwhile.
//!
//! *Subscriptions*: what volatile channels carry between [`Status::Reconnecting`] and [`Status::Resumed`] does not arrive,
//! and no [`Event`] says so: the [`Gap`]s of the status do.
//!
//! *Presences* are entered again, with what each said last. A node that refuses one then says so by [`Presence::error`].
//!
//! *Publishes* that are not acked are sent again in the next session, under their numbers, in order and before anything
//! newer. What the mesh had taken is not delivered twice: its nodes know the numbers for a minute, and subscriptions of this
//! SDK look for themselves, since they may have changed nodes as well. A publish that could not be sent again within 45 s ends
//! as [`PublishError::Unknown`]: it may or may not be delivered. A volatile message may still be lost on its way, acked or not.
//!
//! Only a definite refusal, such as an expired token, ends a client for good; every handle then says why.
//!
//! # Cancel safety
//! Every `async fn` says what dropping its future means. The session lives in a task of its own, so nothing is lost
//! when a `select!` drops a [`Subscription::next`].

mod answers;
mod backoff;
mod client;
mod connect;
mod context;
mod deliveries;
mod entry_points;
mod error;
mod ledger;
mod options;
mod presence;
mod publisher;
mod race;
mod requests;
mod seen;
mod session;
mod standing;
mod status;
mod subscription;

pub use client::Client;
pub use context::{Context, ContextNode, ContextRegion};
pub use entry_points::EntryPoint;
pub use error::{Attempt, AttemptError, ConnectError, OptionsError, PresenceError, PublishError, SubscribeError};
pub use options::ConnectOptions;
pub use presence::{Presence, PresenceUpdate, PresenceWatch};
pub use publisher::{Ack, PendingAck};
pub use status::{Gap, Status, StatusChanges};
pub use subscription::{Event, Message, Subscription};

pub use farwire_wire::client::{AckLevel, ChannelPresence, ListedOccupant, Place, RegionPresence, WhereAnswer};
pub use farwire_wire::presence::{PresenceEvent, PresenceState, StateError};
pub use farwire_wire::{
    ChannelName, ClientId, ErrorClass, ErrorCode, NameError, NodeName, Pattern, PublisherId, RegionName, SessionId,
    WireError,
};
