//! `--demo`: something to look at on a new mesh, published under `demo.` through the SDK like by any application.
//!
//! A client per region, so that messages start everywhere. Nothing depends on it: when it fails, `up` says so and goes on.

use std::time::{Duration, SystemTime};

use farwire_client::{Client, ConnectOptions};
use farwire_wire::names::RegionName;
use futures_util::future::try_join_all;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval};

use super::control::Mesh;
use super::plan::Plan;

/// What `--demo` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Demo {
    /// Ships that move: positions on demo.fleet.ID
    Fleet,
    /// People who talk on demo.chat.lobby
    Chat,
    /// Nothing
    None,
}

/// Publishes until it is dropped. Never returns.
pub(super) async fn run(demo: Demo, mesh: &Mesh) {
    let plan = &mesh.plan;
    let regions = plan.regions.iter().enumerate();
    let ended = match demo {
        Demo::Fleet => try_join_all(regions.map(|(index, region)| sail(plan, region, index))).await,
        Demo::Chat => try_join_all(regions.map(|(index, region)| talk(plan, region, index))).await,
        Demo::None => std::future::pending().await,
    };
    if let Err(err) = ended {
        let _ = mesh.notices.try_send(format!("the demo has ended: {err}; the mesh goes on without it"));
    }
    std::future::pending::<()>().await;
}

type Ended = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// The ships of one region, twice a second.
async fn sail(plan: &Plan, region: &RegionName, index: usize) -> Ended {
    let client = connect(plan, region).await?;
    let mut rng = StdRng::seed_from_u64(index as u64);
    let numbers = (0..SHIPS).filter(|number| number % plan.regions.len() == index);
    let mut ships: Vec<Ship> = numbers.map(|number| Ship::new(number, &mut rng)).collect();
    let mut ticks = every(POSITION_EVERY);
    loop {
        ticks.tick().await;
        for ship in &mut ships {
            ship.sail(POSITION_EVERY, &mut rng);
            let position = serde_json::to_vec(&ship.position(SystemTime::now()))?;
            // A lost position is followed by the next one, so nobody waits for the ack.
            drop(client.publish_pipelined(format!("demo.fleet.{}", ship.id), position).await?);
        }
    }
}

/// One region's part of the conversation: every line has its turn, and each region speaks in turn.
async fn talk(plan: &Plan, region: &RegionName, index: usize) -> Ended {
    let client = connect(plan, region).await?;
    let mut ticks = every(LINE_EVERY);
    for turn in 0.. {
        ticks.tick().await;
        if turn % plan.regions.len() == index {
            let (who, says) = LINES[turn % LINES.len()];
            let line = serde_json::to_vec(&Line { who, region, says })?;
            drop(client.publish_pipelined("demo.chat.lobby", line).await?);
        }
    }
    Ok(())
}

async fn connect(plan: &Plan, region: &RegionName) -> Result<Client, Box<dyn std::error::Error + Send + Sync>> {
    let options = ConnectOptions::from_context(plan.mesh_json_file())?.region(region.clone());
    Ok(Box::pin(Client::connect(options)).await?)
}

fn every(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// A ship that cruises about its home.
struct Ship {
    id: u64,
    home: (f64, f64),
    /// Degrees north and east.
    latitude: f64,
    longitude: f64,
    /// Degrees from north, clockwise.
    course: f64,
    knots: f64,
}

#[derive(Serialize)]
struct Position {
    ship: u64,
    /// Seconds since the epoch.
    t: f64,
    lat: f64,
    lon: f64,
    course: f64,
    knots: f64,
}

#[derive(Serialize)]
struct Line<'a> {
    who: &'a str,
    region: &'a RegionName,
    says: &'a str,
}

impl Ship {
    fn new(number: usize, rng: &mut StdRng) -> Self {
        let home = HOMES[number % HOMES.len()];
        let mut near = |degrees: f64| degrees + rng.random_range(-RANGE_DEGREES..RANGE_DEGREES) / 2.0;
        let (latitude, longitude) = (near(home.0), near(home.1));
        let (course, knots) = (rng.random_range(0.0..360.0), rng.random_range(8.0..22.0));
        Self { id: FIRST_ID + number as u64, home, latitude, longitude, course, knots }
    }

    /// Goes on for `time`, swaying a little, and back towards home when it is far away.
    fn sail(&mut self, time: Duration, rng: &mut StdRng) {
        let (north, east) = (self.home.0 - self.latitude, self.home.1 - self.longitude);
        let far = north.hypot(east) > RANGE_DEGREES;
        let homewards = east.atan2(north).to_degrees();
        self.course = if far { homewards } else { self.course + rng.random_range(-2.0..2.0) }.rem_euclid(360.0);
        // A minute of latitude is a nautical mile.
        let degrees = self.knots * time.as_secs_f64() / 3600.0 / 60.0;
        self.latitude += degrees * self.course.to_radians().cos();
        self.longitude += degrees * self.course.to_radians().sin() / self.latitude.to_radians().cos();
    }

    fn position(&self, now: SystemTime) -> Position {
        let rounded = |value: f64, digits: i32| (value * 10_f64.powi(digits)).round() / 10_f64.powi(digits);
        Position {
            ship: self.id,
            t: rounded(now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64(), 3),
            lat: rounded(self.latitude, 5),
            lon: rounded(self.longitude, 5),
            course: rounded(self.course, 1),
            knots: rounded(self.knots, 1),
        }
    }
}

const SHIPS: usize = 36;
const POSITION_EVERY: Duration = Duration::from_millis(500);
const LINE_EVERY: Duration = Duration::from_secs(2);
/// Nine digits, as ships' numbers have.
const FIRST_ID: u64 = 205_125_000;
/// The German Bight, the Virginia Capes, the Singapore Strait: north and east.
const HOMES: [(f64, f64); 3] = [(54.0, 7.5), (36.9, -75.6), (1.2, 104.0)];
const RANGE_DEGREES: f64 = 0.5;

const LINES: [(&str, &str); 8] = [
    ("ana", "good morning, who is on watch?"),
    ("ben", "me, until noon"),
    ("chen", "evening here; the strait is busy today"),
    ("ana", "the buoy at the river mouth is out again"),
    ("ben", "I will put it on the list"),
    ("chen", "two tankers ask for a pilot, both at six"),
    ("ana", "one of them can wait, ask the larger one first"),
    ("ben", "coffee is ready"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ships_move_at_their_speed_and_stay_about_their_homes() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut ship = Ship::new(0, &mut rng);
        let before = ship.latitude;
        ship.course = 0.0;
        ship.knots = 10.0;
        ship.sail(Duration::from_secs(3600), &mut rng);
        assert!((ship.latitude - before - 10.0 / 60.0).abs() < 0.001, "an hour at ten knots are ten miles");
        for _ in 0..10_000 {
            ship.sail(Duration::from_secs(30), &mut rng);
            let away = (ship.latitude - ship.home.0).hypot(ship.longitude - ship.home.1);
            assert!(away < RANGE_DEGREES * 1.1, "{away} degrees away");
        }
    }

    #[test]
    fn a_position_is_json_that_replay_understands() {
        let ship = Ship::new(4, &mut StdRng::seed_from_u64(1));
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_500);
        let json = serde_json::to_value(ship.position(at)).expect("JSON");
        assert_eq!((json["ship"].as_u64(), json["t"].as_f64()), (Some(205_125_004), Some(1.5)));
    }
}
