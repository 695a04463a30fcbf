//! Active health checks: one task per pool, which ends with it.

use std::sync::{Arc, Weak};

use http::Request;
use http::header::{HOST, USER_AGENT};
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use super::client::{Client, ClientError};
use super::pool::{Health, Member, Pool};

/// A health answer says yes or no; what else it holds is not read.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Probes the members of `pool` until it is dropped.
pub fn watch(pool: &Arc<Pool>, client: Client) {
    for member in pool.members() {
        tokio::spawn(probe(
            Arc::downgrade(pool),
            Arc::clone(member),
            client.clone(),
        ));
    }
}

async fn probe(pool: Weak<Pool>, member: Arc<Member>, client: Client) {
    let Some(interval) = pool.upgrade().map(|pool| pool.probe.interval) else {
        return;
    };
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut streak = Streak::default();
    loop {
        ticks.tick().await;
        let Some(pool) = pool.upgrade() else { return };
        let outcome = ask(&pool, &member, &client).await;
        member.probed(outcome);
        let health = streak.after(outcome.is_ok(), &pool);
        if let Some(health) = health
            && pool.probed(&member, health)
        {
            let (app, service, colour) = (&pool.app, &pool.service, pool.colour);
            match outcome {
                Ok(()) => {
                    info!(app, service, %colour, member = %member.address, "a member is healthy")
                }
                Err(reason) => {
                    warn!(app, service, %colour, member = %member.address, reason, "a member is unhealthy");
                }
            }
        }
    }
}

async fn ask(pool: &Pool, member: &Arc<Member>, client: &Client) -> Result<(), &'static str> {
    let request = Request::get(&pool.probe.path)
        .header(HOST, member.address.to_string())
        .header(USER_AGENT, "bellwether-probe")
        .body(())
        .map_err(|_| "the probe's path is not valid")?;
    let asked = async {
        let answer = client
            .ask(member.probe_lease(), request, pool.probe.timeout)
            .await
            .map_err(say)?;
        let status = answer.head.status;
        // Read to the end, so that the connection can be used again.
        answer.whole(BODY_BYTES_MAX).await.map_err(say)?;
        if status.is_success() {
            Ok(())
        } else {
            Err("its answer was not 2xx")
        }
    };
    // The limit is for the whole answer: a member that drips is not healthy.
    tokio::time::timeout(pool.probe.timeout, asked)
        .await
        .unwrap_or(Err("it was silent for too long"))
}

fn say(error: ClientError) -> &'static str {
    match error {
        ClientError::NoMember | ClientError::Connect => "no connection",
        ClientError::TimedOut => "it was silent for too long",
        ClientError::Broken | ClientError::Invalid => "its answer broke off",
        ClientError::TooLong => "its answer is too long",
    }
}

/// Results in a row.
#[derive(Debug, Default)]
struct Streak {
    good: u32,
    bad: u32,
}

impl Streak {
    fn after(&mut self, good: bool, pool: &Pool) -> Option<Health> {
        if good {
            (self.good, self.bad) = (self.good.saturating_add(1), 0);
            (self.good >= pool.probe.healthy_after).then_some(Health::Healthy)
        } else {
            (self.good, self.bad) = (0, self.bad.saturating_add(1));
            (self.bad >= pool.probe.unhealthy_after).then_some(Health::Unhealthy)
        }
    }
}
