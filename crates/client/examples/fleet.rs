//! Watches ships: prints each position as it arrives. Start some with `farwire up --demo fleet`.
#![allow(clippy::print_stdout, reason = "an example talks to a person")]

use farwire_client::{Client, ConnectOptions, Event};

#[derive(serde::Deserialize)]
struct Position {
    name: String,
    lat: f64,
    lon: f64,
    /// Speed over ground, in knots.
    sog: f64,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::connect(ConnectOptions::from_context(".farwire/mesh.json")?).await?;
    let mut fleet = client.subscribe_all(["demo.fleet.>", "live.fleet.>"]).await?;

    while let Some(event) = fleet.next().await {
        match event {
            Event::Message(message) => {
                if let Ok(Position { name, lat, lon, sog }) = serde_json::from_slice(&message.payload) {
                    println!("{name:<24} {lat:>9.4} {lon:>10.4} {sog:>5.1} kn");
                }
            }
            Event::Dropped { count } => println!("({count} positions went by)"),
        }
    }
    Ok(())
}
