//! Which app and service a path belongs to.
//!
//! The table is built when the files are loaded: a list of prefixes, longest first. Configs have a
//! handful, so a scan of it costs less than a tree. Paths are compared decoded: an origin decodes
//! too, and `/%61pi` must not slip past what is said of `/api`.

use std::sync::Arc;

use crate::config::checked::{App, RouteKind, covers};
use crate::metrics::{Metrics, RouteMetrics};

/// Every prefix of every app.
#[derive(Debug, Default)]
pub struct Routes {
    longest_first: Vec<Arc<Route>>,
}

/// What is said of the paths below one prefix.
#[derive(Debug, Clone)]
pub struct Route {
    /// The prefix: the label of logs and metrics, as the path itself may name a person.
    pub prefix: String,
    /// Index into the apps of the world.
    pub app: usize,
    /// Index into the services of the app.
    pub service: usize,
    /// What a `[[routes]]` entry says; none: the service's own prefix.
    pub kind: Option<RouteKind>,
    /// Whether pass-through answers may be compressed.
    pub compress: bool,
    /// The largest request body, where it differs from the edge's.
    pub body_bytes_max: Option<u64>,
    /// Counts its requests.
    pub metrics: Arc<RouteMetrics>,
}

impl Routes {
    /// Collects the prefixes of all apps, in whose order they are numbered.
    pub fn of<'a>(apps: impl IntoIterator<Item = &'a App>, metrics: &Metrics) -> Self {
        let apps: Vec<&App> = apps.into_iter().collect();
        let mut services = Self::default();
        for (app, config) in apps.iter().enumerate() {
            for (service, of_service) in config.services.values().enumerate() {
                for prefix in &of_service.paths {
                    services.push(Route {
                        prefix: prefix.clone(),
                        app,
                        service,
                        kind: None,
                        compress: true,
                        body_bytes_max: None,
                        metrics: metrics.route(config.id.as_str(), prefix),
                    });
                }
            }
        }
        services.sort();
        let mut all = Self {
            longest_first: services.longest_first.clone(),
        };
        for config in apps {
            for exception in &config.routes {
                // The config room refuses an exception that is below no service.
                let Some(service) = services.find(&exception.path) else {
                    continue;
                };
                all.push(Route {
                    prefix: exception.path.clone(),
                    kind: Some(exception.kind),
                    compress: exception.compress,
                    body_bytes_max: exception.body_bytes_max,
                    metrics: metrics.route(config.id.as_str(), &exception.path),
                    ..(**service).clone()
                });
            }
        }
        all.sort();
        all
    }

    /// The route of a decoded path: that of its longest prefix.
    pub fn find(&self, path: &str) -> Option<&Arc<Route>> {
        self.longest_first
            .iter()
            .find(|route| covers(&route.prefix, path))
    }

    fn push(&mut self, route: Route) {
        self.longest_first.push(Arc::new(route));
    }

    fn sort(&mut self) {
        // Of two equal prefixes the exception comes first.
        self.longest_first
            .sort_by_key(|route| (std::cmp::Reverse(route.prefix.len()), route.kind.is_none()));
    }
}
