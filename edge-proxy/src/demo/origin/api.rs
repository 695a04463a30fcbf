//! The JSON API, and signing in.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Form, FromRequest, Path, Request, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::header::{CONTENT_TYPE, SET_COOKIE};
use http::{HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Problem, Sharing, answer};
use super::{Member, Platform, SESSION_COOKIE, Visit};
use crate::demo::school::{CATALOGUE, NOTE_CHARS_MAX, Note, School};

/// The health check: no school, no session.
pub(super) async fn up(State(platform): State<Arc<Platform>>) -> Response {
    answer(
        StatusCode::OK,
        Sharing::Nobody,
        platform.stamp("up"),
        json!({ "up": true }),
    )
}

/// Whether anybody is signed in: always answered, so that a page can ask without an error.
pub(super) async fn session(State(platform): State<Arc<Platform>>, visit: Visit) -> Response {
    let body = json!({ "signed_in": visit.person.is_some() });
    answer(
        StatusCode::OK,
        Sharing::Nobody,
        platform.stamp("session"),
        body,
    )
}

/// What a sign-in form says.
#[derive(Deserialize)]
pub(super) struct SignIn {
    login: String,
    passphrase: String,
}

/// Sets the session cookie. A script gets JSON; a plain form gets sent back to the page.
pub(super) async fn sign_in(
    State(platform): State<Arc<Platform>>,
    visit: Visit,
    request: Request,
) -> Result<Response, Response> {
    let is_form = request.headers().get(CONTENT_TYPE).is_some_and(|value| {
        value
            .as_bytes()
            .starts_with(b"application/x-www-form-urlencoded")
    });
    let said: SignIn = if is_form {
        Form::from_request(request, &())
            .await
            .map_err(IntoResponse::into_response)?
            .0
    } else {
        Json::from_request(request, &())
            .await
            .map_err(IntoResponse::into_response)?
            .0
    };
    let person = visit
        .school
        .admit(&said.login, &said.passphrase)
        .ok_or_else(|| Problem::WRONG_SIGN_IN.into_response())?;
    let token = new_token().map_err(IntoResponse::into_response)?;
    let cookie = format!("{SESSION_COOKIE}={token}; Path=/; Secure; HttpOnly; SameSite=Lax");
    platform.registry.sign_in(token, person);
    let stamp = platform.stamp("session");
    let mut response = if is_form {
        Redirect::to("/").into_response()
    } else {
        let body = json!({ "id": person.id, "name": person.name });
        answer(StatusCode::CREATED, Sharing::Nobody, stamp, body)
    };
    if let Ok(cookie) = HeaderValue::try_from(cookie) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    Ok(response)
}

/// Ends the session, here and in the browser.
pub(super) async fn sign_out(State(platform): State<Arc<Platform>>, visit: Visit) -> Response {
    if let Some(token) = visit.token {
        platform.registry.sign_out(&token);
    }
    let gone = format!("{SESSION_COOKIE}=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0");
    let mut response = answer(
        StatusCode::OK,
        Sharing::Nobody,
        platform.stamp("session"),
        json!({ "signed_in": false }),
    );
    if let Ok(gone) = HeaderValue::try_from(gone) {
        response.headers_mut().insert(SET_COOKIE, gone);
    }
    response
}

/// Whose credentials these are. It tells the truth whichever school is asked: comparing the two
/// schools is the edge's task here, and every other route of the platform does it again.
pub(super) async fn me(
    State(platform): State<Arc<Platform>>,
    visit: Visit,
) -> Result<Response, Problem> {
    let stamp = platform.stamp("me");
    let person = visit.person.ok_or(Problem::SIGNED_OUT)?;
    let body = json!({
        "id": person.id,
        "name": person.name,
        "school": { "id": person.school },
        "roles": [person.role],
    });
    Ok(answer(StatusCode::OK, Sharing::Nobody, stamp, body))
}

/// The same for everybody at the school.
pub(super) async fn courses(State(platform): State<Arc<Platform>>, member: Member) -> Response {
    let stamp = platform.stamp("courses");
    let notes = platform.registry.notes(member.school);
    let courses = member.school.courses.iter().map(|course| {
        let mut row = json!(course);
        row["notes"] = json!(notes.get(&course.id).copied().unwrap_or(0));
        row
    });
    let body = json!({
        "school": brief(member.school),
        "courses": courses.collect::<Vec<Value>>(),
    });
    let mut tags = "courses".to_owned();
    for course in member.school.courses {
        tags.push_str(&format!(" course:{}", course.id));
    }
    answer(StatusCode::OK, Sharing::School { tags }, stamp, body)
}

/// The same for everybody.
pub(super) async fn catalogue(State(platform): State<Arc<Platform>>, visit: Visit) -> Response {
    let body = json!({ "school": brief(visit.school), "offers": CATALOGUE });
    let sharing = Sharing::Everybody { tags: "catalogue" };
    answer(StatusCode::OK, sharing, platform.stamp("catalogue"), body)
}

/// Only for who asks.
pub(super) async fn grades(State(platform): State<Arc<Platform>>, member: Member) -> Response {
    let grades = member
        .person
        .grades
        .iter()
        .map(|(course, grade)| json!({ "course": course, "grade": grade }));
    let body = json!({
        "id": member.person.id,
        "grades": grades.collect::<Vec<Value>>(),
    });
    answer(
        StatusCode::OK,
        Sharing::Nobody,
        platform.stamp("grades"),
        body,
    )
}

/// What a note form says.
#[derive(Deserialize)]
pub(super) struct NewNote {
    text: String,
}

/// Leaves a line on a course; everybody at the school who listens hears of it.
pub(super) async fn add_note(
    State(platform): State<Arc<Platform>>,
    member: Member,
    Path(id): Path<u32>,
    Json(said): Json<NewNote>,
) -> Result<Response, Problem> {
    let stamp = platform.stamp("notes");
    let taught = member.school.courses.iter().any(|course| course.id == id);
    if !taught {
        return Err(Problem::NO_SUCH_COURSE);
    }
    let text = said.text.trim();
    if text.is_empty() || text.chars().count() > NOTE_CHARS_MAX {
        return Err(Problem::BAD_NOTE);
    }
    let note = Note {
        course: id,
        author: member.person.name,
        text: text.to_owned(),
        school: member.school.id,
    };
    let body = json!({ "note": note });
    platform.registry.add_note(note);
    Ok(answer(StatusCode::CREATED, Sharing::Nobody, stamp, body))
}

fn brief(school: &School) -> Value {
    json!({ "id": school.id, "name": school.name })
}

fn new_token() -> Result<String, Problem> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| Problem::NO_RANDOMNESS)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
