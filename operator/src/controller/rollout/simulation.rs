//! The planner against Kubernetes and clients, in seconds that cost nothing. A seed decides everything that could be
//! otherwise, so that the same seed is the same run.
//!
//! `kubernetes` is the StatefulSet controller, in three releases, with kubelets and nodes; `course` is one run with
//! the promises, judged at each step; `disturbances` is what goes wrong. `make simulate-rollouts SEEDS=… SEED=…` runs as many as you like.

mod course;
mod disturbances;
mod kubernetes;
#[path = "../../../../crates/socketio/tests/walk/random.rs"]
mod random;

use course::{Broken, Course};
use kubernetes::Image;

/// As `cargo test` runs it; `make check` runs more.
const SEEDS: u64 = 500;

fn number(variable: &str, usual: u64) -> u64 {
    let Ok(text) = std::env::var(variable) else {
        return usual;
    };
    text.parse()
        .unwrap_or_else(|_| panic!("{variable} is a number"))
}

/// Runs it with each seed; the first that breaks a promise is told with its course.
fn with_seeds(
    count: u64,
    make: impl Fn(u64) -> Course,
    run: impl Fn(&mut Course) -> Result<(), Broken>,
) {
    let first = number("SEED", 1);
    for seed in first..first + count {
        let mut course = make(seed);
        if let Err(broken) = run(&mut course) {
            let shown = course
                .trace
                .len()
                .saturating_sub(number("TRACE", 60) as usize);
            panic!(
                "{}\nseed {seed}: {broken}\nmake simulate-rollouts SEED={seed} SEEDS=1 TRACE=100000",
                course.trace[shown..].join("\n")
            );
        }
    }
}

fn straight(seed: u64) -> Course {
    let replicas = i32::try_from(seed % 20).unwrap() + 1;
    Course::new(seed, replicas, 200)
}

fn each_reconnected(course: &Course, times: u32) -> Result<(), Broken> {
    let other = course
        .clients
        .iter()
        .find(|client| client.reconnects != times);
    other.map_or(Ok(()), |client| {
        Err(format!("a client reconnected {} times", client.reconnects))
    })
}

#[test]
fn a_rollout_of_1_to_20_pods_costs_each_client_exactly_one_reconnect() {
    with_seeds(200, straight, |course| {
        course.settle()?;
        course.forget();
        course.change(Image::Good);
        course.settle()?;
        each_reconnected(course, 1)
    });
}

#[test]
fn a_template_that_never_gets_ready_costs_nobody_anything_and_neither_does_its_end() {
    with_seeds(120, straight, |course| {
        course.settle()?;
        course.forget();
        course.change(if course.replicas % 2 == 0 {
            Image::NeverRuns
        } else {
            Image::NeverReady
        });
        for _ in 0..300 {
            course.tick()?;
        }
        course.template = 0;
        course.settle()?;
        each_reconnected(course, 0)
    });
}

#[test]
fn a_rollout_that_is_called_off_moves_only_those_who_had_moved() {
    with_seeds(200, straight, |course| {
        course.settle()?;
        course.forget();
        course.change(Image::Good);
        for _ in 0..course.chance.below(400) {
            course.tick()?;
        }
        // A drain that is under way cannot be called off; where its clients land was decided before.
        let drains = |pod: &&kubernetes::Pod| pod.drained_at.is_some();
        let draining: Vec<u64> = course
            .kubernetes
            .pods
            .values()
            .filter(drains)
            .map(|pod| pod.uid)
            .collect();
        let most = |client: &course::Client| {
            let is_under_way = client.pod.is_some_and(|uid| draining.contains(&uid));
            client.reconnects + 1 + u32::from(is_under_way)
        };
        let most: Vec<u32> = course.clients.iter().map(most).collect();
        course.template = 0;
        course.settle()?;
        let mut moved = course.clients.iter().zip(most);
        let is_right = moved.all(|(client, most)| client.reconnects <= most);
        is_right
            .then_some(())
            .ok_or_else(|| "a client moved twice on the way back".to_owned())
    });
}

#[test]
fn a_scale_down_touches_only_the_pods_that_go() {
    with_seeds(200, straight, |course| {
        course.settle()?;
        course.forget();
        let wanted = 1 + i32::try_from(
            course
                .chance
                .below(usize::try_from(course.replicas).unwrap()),
        )
        .unwrap();
        let stay: Vec<u64> = course
            .kubernetes
            .pods
            .range(..wanted)
            .map(|(_, pod)| pod.uid)
            .collect();
        let stood: Vec<bool> = course
            .clients
            .iter()
            .map(|client| stay.contains(&client.pod.unwrap()))
            .collect();
        course.replicas = wanted;
        course.settle()?;
        let is_right =
            |(client, stood): (&course::Client, bool)| client.reconnects == u32::from(!stood);
        course
            .clients
            .iter()
            .zip(stood)
            .all(is_right)
            .then_some(())
            .ok_or_else(|| "not once each".to_owned())
    });
}

#[test]
fn whatever_happens_no_promise_is_broken_and_it_comes_to_an_end() {
    with_seeds(
        number("SEEDS", SEEDS),
        |seed| Course::new(seed, i32::try_from(seed % 7).unwrap(), 30),
        |course| {
            let often = 4 + course.chance.below(40);
            for _ in 0..100 + course.chance.below(400) {
                if course.chance.one_in(often) {
                    course.disturb();
                }
                course.tick()?;
            }
            if course.kubernetes.images[course.template] != Image::Good {
                course.change(Image::Good);
            }
            if course.chance.one_in(2) {
                course.each_lost_node_returns();
            }
            course.settle()
        },
    );
}

#[test]
fn a_seed_is_one_run() {
    let run = |seed| {
        let mut course = Course::new(seed, 3, 30);
        for _ in 0..300 {
            if course.chance.one_in(10) {
                course.disturb();
            }
            course.tick().unwrap();
        }
        course.trace
    };
    for seed in 1..=5 {
        let trace = run(seed);
        assert!(trace.len() > 20, "a run that shows nothing");
        assert_eq!(trace, run(seed), "seed {seed}");
    }
}
