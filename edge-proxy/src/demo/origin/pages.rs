//! Pages that no release holds: the platform writes them for who asks.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{Html, IntoResponse, Redirect, Response};
use http::header::{ACCEPT, CACHE_CONTROL};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::answer::Problem;
use super::{Member, Platform};
use crate::demo::school::{Course, Person, School};

/// The day of one person. Nobody signed in: back to the front page.
pub(super) async fn dashboard(
    State(platform): State<Arc<Platform>>,
    member: Result<Member, Problem>,
) -> Response {
    platform.stamp("dashboard");
    let Ok(member) = member else {
        return uncached(Redirect::to("/"));
    };
    uncached(Html(day(member.school, member.person, &platform)))
}

/// Everything else: a page for a reader, a problem for a program.
pub(super) async fn not_here(
    State(platform): State<Arc<Platform>>,
    headers: HeaderMap,
) -> Response {
    platform.stamp("not_here");
    let reads_html = headers
        .get(ACCEPT)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.contains("text/html"));
    if !reads_html {
        return Problem::NOT_HERE.into_response();
    }
    let body = "<h1>Nothing here</h1><p>No release and no page of the platform has this address.</p>\
                <p><a href=\"/\">Back to the school</a></p>";
    uncached((StatusCode::NOT_FOUND, Html(page("Nothing here", body))))
}

fn uncached(answer: impl IntoResponse) -> Response {
    let mut response = answer.into_response();
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    response
}

fn day(school: &School, person: &Person, platform: &Platform) -> String {
    let first = person.name.split(' ').next().unwrap_or(person.name);
    let lessons: String = school.courses.iter().map(lesson).collect();
    let grades: String = person
        .grades
        .iter()
        .map(|(course, grade)| format!("<div><dt>{course}</dt><dd>{grade}</dd></div>"))
        .collect();
    let grades = if grades.is_empty() {
        "<p>Teachers have no grades here.</p>".to_owned()
    } else {
        format!("<dl class=\"grades\">{grades}</dl>")
    };
    let body = format!(
        "<p class=\"eyebrow\">{} · written for you by {}, kept by nobody</p>\
         <h1>{first}’s day</h1>\
         <section aria-labelledby=\"lessons\"><h2 id=\"lessons\">Lessons</h2><ol class=\"day\">{lessons}</ol></section>\
         <section aria-labelledby=\"grades\"><h2 id=\"grades\">Grades</h2>{grades}</section>\
         <p><a href=\"/\">Back to the school</a></p>",
        school.name, platform.colour
    );
    page(&format!("{first}’s day"), &body)
}

fn lesson(course: &Course) -> String {
    format!(
        "<li><time>{}</time> <strong>{}</strong> <span>{} · {} · {}</span></li>",
        course.next, course.title, course.subject, course.teacher, course.room
    )
}

/// Everything put into a page is the platform's own text: nothing that anybody typed.
///
/// Its style sheets are release files: they come from the release of the colour that wrote it.
fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{title}</title><link rel=\"icon\" href=\"/img/bell.svg\">\
         <link rel=\"stylesheet\" href=\"/css/accent.css\"><link rel=\"stylesheet\" href=\"/css/site.css\">\
         </head><body class=\"sheet\"><main>{body}</main></body></html>"
    )
}
