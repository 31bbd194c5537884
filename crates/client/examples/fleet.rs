//! Watches ships: prints each position as it arrives. Start some with `farwire up --demo fleet`.
#![allow(clippy::print_stdout, reason = "an example talks to a person")]

use farwire_client::{Client, ConnectOptions, Context, Event};

#[derive(serde::Deserialize)]
struct Position {
    #[serde(alias = "mmsi")]
    ship: u64,
    lat: f64,
    lon: f64,
    /// Over ground.
    #[serde(alias = "sog")]
    knots: f64,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let context = Context::default_path().ok_or("no mesh: start one with `farwire up`")?;
    let client = Client::connect(ConnectOptions::from_context(context)?).await?;
    let mut fleet = client.subscribe_all(["demo.fleet.>", "live.fleet.>"]).await?;

    while let Some(event) = fleet.next().await {
        match event {
            Event::Message(message) => {
                if let Ok(Position { ship, lat, lon, knots }) = serde_json::from_slice(&message.payload) {
                    println!("{ship:<10} {lat:>9.4} {lon:>10.4} {knots:>5.1} kn");
                }
            }
            Event::Dropped { count } => println!("({count} positions went by)"),
        }
    }
    Ok(())
}
