//! Says hello to itself through the mesh. Start one with `farwire up`, then `cargo run -p farwire-client --example hello`.
#![allow(clippy::print_stdout, reason = "an example talks to a person")]

use farwire_client::{Client, ConnectOptions, Context, Event};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let context = Context::default_path().ok_or("no mesh: start one with `farwire up`")?;
    let client = Client::connect(ConnectOptions::from_context(context)?).await?;
    println!("connected to {} in {}", client.node(), client.region());

    let mut hellos = client.subscribe("live.hello").await?;
    client.publish("live.hello", "hello, mesh").await?;

    if let Some(Event::Message(message)) = hellos.next().await {
        println!("{} on {}", String::from_utf8_lossy(&message.payload), message.channel);
    }
    client.close().await;
    Ok(())
}
