//! The rule as a table, and histories of small and large zones.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

struct Zone {
    fleet: Fleet,
    start: Instant,
    now: Instant,
    next_stream: u64,
    streams: BTreeMap<ProxyKey, u64>,
}

fn id(number: usize) -> ProxyKey {
    ProxyKey::sidecar("default", format!("proxy-{number:04}"))
}

fn ids(numbers: impl IntoIterator<Item = usize>) -> Vec<ProxyKey> {
    numbers.into_iter().map(id).collect()
}

impl Zone {
    fn empty() -> Self {
        let now = Instant::now();
        Self {
            fleet: Fleet::new(PATIENCE),
            start: now,
            now,
            next_stream: 1,
            streams: BTreeMap::new(),
        }
    }

    /// So many proxies that have been there for long.
    fn of(size: usize) -> Self {
        let mut zone = Self::empty();
        (0..size).for_each(|number| zone.connect(number));
        zone.at(3600.0);
        zone
    }

    /// Sets the clock to so many seconds after the start.
    fn at(&mut self, seconds: f64) {
        self.now = self.start + Duration::from_secs_f64(seconds);
    }

    fn connect(&mut self, number: usize) {
        self.fleet.begin(&id(number), self.next_stream, true);
        self.fleet.admit(&id(number), true, self.now);
        self.streams.insert(id(number), self.next_stream);
        self.next_stream += 1;
    }

    fn lose(&mut self, number: usize) {
        let stream = self.streams.remove(&id(number)).unwrap();
        self.fleet.end(&id(number), stream, self.now);
    }

    /// Judges whenever something is due until that time: all who are gone, and who is held at the end.
    fn until(&mut self, seconds: f64) -> (Vec<ProxyKey>, usize) {
        let end = self.start + Duration::from_secs_f64(seconds);
        let mut gone = Vec::new();
        while let Some(deadline) = self.fleet.next_deadline().filter(|deadline| *deadline <= end) {
            self.now = deadline;
            gone.extend(self.fleet.judge(deadline).gone.into_iter().map(|gone| gone.id));
        }
        self.now = end;
        gone.sort();
        (gone, self.fleet.held.len())
    }
}

#[test]
fn the_rule() {
    for (lost, present, verdict) in [
        // One alone, whatever is left.
        (1, 0, Verdict::Gone),
        (1, 1, Verdict::Gone),
        (1, 1000, Verdict::Gone),
        // A small zone: a host with two of five proxies may die, the ingress and both proxies at once may not.
        (2, 3, Verdict::Gone),
        (2, 2, Verdict::Gone),
        (2, 1, Verdict::Held),
        (2, 0, Verdict::Held),
        (3, 0, Verdict::Held),
        (3, 1, Verdict::Held),
        (3, 3, Verdict::Gone),
        // A large one: a rack may die, a third of all may not.
        (4, 8, Verdict::Gone),
        (5, 9, Verdict::Held),
        (30, 70, Verdict::Gone),
        (34, 66, Verdict::Held),
        (1000, 0, Verdict::Held),
    ] {
        assert_eq!(judge(lost, present), verdict, "{lost} lost, {present} present");
    }
}

#[test]
fn one_that_disappears_alone_goes_after_the_delay_and_not_before() {
    for size in [1, 2, 3, 100] {
        let mut zone = Zone::of(size);
        zone.lose(0);
        assert_eq!(zone.until(3609.9), (vec![], 0), "{size}");
        assert_eq!(zone.until(3610.0), (ids([0]), 0), "{size}");
    }
}

#[test]
fn a_cut_control_path_removes_nobody_however_long_it_lasts() {
    for size in [2, 3, 20, 1000] {
        let mut zone = Zone::of(size);
        // Keepalives notice it one after the other.
        for number in 0..size {
            zone.at(3600.0 + 8.0 * number as f64 / size as f64);
            zone.lose(number);
        }
        assert_eq!(zone.until(100_000.0), (vec![], size), "{size}");
        // All come back but one, who died meanwhile.
        for number in 1..size {
            zone.at(100_000.0 + number as f64 / 1000.0);
            zone.connect(number);
        }
        assert_eq!(zone.until(100_030.0), (ids([0]), 0), "{size}");
    }
}

#[test]
fn those_that_come_back_slowly_are_waited_for() {
    let mut zone = Zone::empty();
    for number in 0..100 {
        zone.fleet.expect(id(number), true, false, zone.now);
    }
    // After a start one every half second: most are later than the delay.
    for number in 0..99 {
        let seconds = number as f64 / 2.0;
        assert_eq!(zone.until(seconds).0, [], "{seconds}");
        zone.connect(number);
    }
    assert_eq!(zone.until(49.0 + 9.9).0, []);
    assert_eq!(zone.until(70.0), (ids([99]), 0));
}

#[test]
fn after_a_start_nobody_goes_unless_others_come_back() {
    let mut zone = Zone::empty();
    for number in 0..3 {
        zone.fleet.expect(id(number), true, false, zone.now);
    }
    assert_eq!(zone.until(500.0), (vec![], 3));
    zone.connect(0);
    zone.connect(1);
    assert_eq!(zone.until(511.0), (ids([2]), 0));
}

#[test]
fn a_goodbye_is_evidence_even_in_a_mass_loss() {
    let mut zone = Zone::of(5);
    zone.fleet.goodbye(&id(0), zone.now);
    (0..5).for_each(|number| zone.lose(number));
    assert_eq!(zone.until(3620.0), (ids([0]), 4));
    // The agent's word may come late.
    zone.fleet.goodbye(&id(1), zone.now);
    assert_eq!(zone.until(3640.0), (ids([1]), 3));
}

#[test]
fn whoever_replaces_the_lost_shows_that_the_path_works() {
    let mut zone = Zone::of(4);
    (0..4).for_each(|number| zone.lose(number));
    assert_eq!(zone.until(4000.0), (vec![], 4));
    (10..20).for_each(|number| zone.connect(number));
    assert_eq!(zone.until(4020.0), (ids(0..4), 0));
}

#[test]
fn an_old_stream_that_ends_after_a_new_one_began_is_no_loss() {
    let mut zone = Zone::of(1);
    let old = zone.streams[&id(0)];
    zone.connect(0);
    zone.fleet.end(&id(0), old, zone.now);
    assert_eq!(zone.fleet.next_deadline(), None);
    zone.lose(0);
    assert!(zone.fleet.next_deadline().is_some());
}

#[test]
fn a_refused_stream_neither_keeps_nor_leaves_anything() {
    let mut zone = Zone::of(1);
    zone.lose(0);
    for stream in 100..110 {
        zone.fleet.begin(&id(0), stream, true);
        zone.fleet.refuse(&id(0), stream, zone.now);
        zone.fleet.begin(&id(7), stream + 100, true);
        zone.fleet.refuse(&id(7), stream + 100, zone.now);
    }
    assert_eq!(zone.until(3610.0), (ids([0]), 0));
    assert!(zone.fleet.proxies.is_empty());
}

#[test]
fn steady_losses_of_single_proxies_in_a_large_fleet_are_no_mass_loss() {
    let mut zone = Zone::of(1000);
    let mut gone = Vec::new();
    for number in 0..200 {
        let seconds = 3600.0 + number as f64;
        gone.extend(zone.until(seconds).0);
        zone.lose(number);
    }
    gone.extend(zone.until(4000.0).0);
    assert_eq!(gone.len(), 200);
}

#[test]
fn one_that_cannot_be_let_in_is_waited_for_while_it_shows_that_it_lives() {
    let mut zone = Zone::of(20);
    zone.at(4000.0);
    zone.lose(0);
    for seconds in [4005, 4010, 4015, 4020, 4025] {
        zone.at(f64::from(seconds));
        zone.fleet.lives(&id(0), zone.now);
        assert_eq!(
            zone.fleet.judge(zone.now),
            Judged {
                present: 19,
                ..Judged::default()
            }
        );
    }
    zone.at(4034.9);
    assert!(zone.fleet.judge(zone.now).gone.is_empty());
    zone.at(4035.0);
    assert_eq!(zone.fleet.judge(zone.now).gone.len(), 1, "it is silent now");
    // Of one that nobody misses nothing is noted.
    zone.fleet.lives(&id(0), zone.now);
    zone.fleet.lives(&id(1), zone.now);
    assert_eq!(zone.fleet.next_deadline(), None);
}
