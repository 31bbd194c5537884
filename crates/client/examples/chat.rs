//! A chat room: what you type goes to everybody in it. Run it in two terminals: `… --example chat -- ROOM`.
#![allow(clippy::print_stdout, reason = "an example talks to a person")]

use farwire_client::{Client, ConnectOptions, Context, Event};
use tokio::io::{AsyncBufReadExt, BufReader, stdin};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let room = format!("live.chat.{}", std::env::args().nth(1).unwrap_or_else(|| "lobby".into()));
    let context = Context::default_path().ok_or("no mesh: start one with `farwire up`")?;
    let client = Client::connect(ConnectOptions::from_context(context)?).await?;
    let mut messages = client.subscribe(&room).await?;
    let mut lines = BufReader::new(stdin()).lines();

    loop {
        tokio::select! {
            line = lines.next_line() => match line? {
                Some(line) => drop(client.publish(&room, line).await?),
                None => break,
            },
            event = messages.next() => match event {
                Some(Event::Message(message)) if message.publisher == client.publisher() => {}
                Some(Event::Message(message)) => println!("> {}", String::from_utf8_lossy(&message.payload)),
                Some(Event::Dropped { count }) => println!("({count} messages went by)"),
                None => break,
            },
        }
    }
    client.close().await;
    Ok(())
}
