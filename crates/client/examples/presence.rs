//! Who is in a room: enters it under a name, says who is there, and tells who comes and goes. Run it in two terminals:
//! `… --example presence -- NAME`. Who connects with the same token is the same client, wherever it runs.
#![allow(clippy::print_stdout, reason = "an example talks to a person")]

use farwire_client::{Client, ConnectOptions, Context, PresenceEvent, PresenceState, PresenceUpdate};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let room = "live.room.lobby";
    let name = std::env::args().nth(1).unwrap_or_else(|| "somebody".into());
    let context = Context::default_path().ok_or("no mesh: start one with `farwire up`")?;
    let client = Client::connect(ConnectOptions::from_context(context)?).await?;
    // First watch, then ask: so nobody slips through in between.
    let mut updates = client.watch_presence(room).await?;
    let _here = client.enter(room, PresenceState::of(&name)?).await?;
    let now = client.presence(room).await?;
    println!("{} sessions of {} clients are here", now.occupancy, now.clients);

    while let Some(update) = updates.next().await {
        match update {
            PresenceUpdate::Event { event, .. } => match event {
                PresenceEvent::Join { client, state, .. } => println!("{client} came: {state:?}"),
                PresenceEvent::State { client, state, .. } => println!("{client} says {state:?}"),
                PresenceEvent::Leave { client, .. } => println!("{client} left"),
                PresenceEvent::Timeout { client, .. } => println!("{client} was lost"),
                PresenceEvent::Interval { occupancy, .. } => println!("{occupancy} sessions are here"),
            },
            PresenceUpdate::Dropped { count } => println!("({count} events went by)"),
        }
    }
    Ok(())
}
