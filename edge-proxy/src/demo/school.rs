//! Two schools that do not exist: who goes there, what is taught, and who is signed in.
//!
//! Both colours of the origin share one [`Registry`], as two versions of a platform share one
//! database: a pupil who moves to the other colour stays signed in.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::broadcast;

/// One tenant.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct School {
    pub(super) id: &'static str,
    pub(super) name: &'static str,
    pub(super) host: &'static str,
    pub(super) people: &'static [Person],
    pub(super) courses: &'static [Course],
}

/// Somebody who can sign in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Person {
    pub(super) id: &'static str,
    pub(super) login: &'static str,
    pub(super) name: &'static str,
    pub(super) school: &'static str,
    pub(super) role: &'static str,
    pub(super) grades: &'static [(&'static str, &'static str)],
}

/// What a school's own pupils see.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Course {
    pub(super) id: u32,
    pub(super) title: &'static str,
    pub(super) subject: &'static str,
    pub(super) teacher: &'static str,
    pub(super) room: &'static str,
    pub(super) next: &'static str,
    pub(super) progress: u8,
    pub(super) cover: &'static str,
}

/// What anybody may see.
#[derive(Debug, Serialize)]
pub(super) struct Offer {
    id: u32,
    title: &'static str,
    hours: u16,
    level: &'static str,
}

/// The passphrase of everybody in the demo. It protects nothing.
pub(super) const PASSPHRASE: &str = "wool";

/// Both schools.
pub(super) static SCHOOLS: [School; 2] = [
    School {
        id: "maple",
        name: "Maple Grove School",
        host: "maple.localhost",
        people: &[
            person(
                "p-101",
                "ada",
                "Ada Brook",
                "maple",
                "pupil",
                &[
                    ("Tides and moons", "A"),
                    ("Lines of a map", "B+"),
                    ("The leaf spiral", "A-"),
                ],
            ),
            person("t-102", "noor", "Noor Haddad", "maple", "teacher", &[]),
        ],
        courses: &[
            course(
                1,
                "Tides and moons",
                "Physics",
                "Noor Haddad",
                "Lab 2",
                "08:40",
                62,
                "tides",
            ),
            course(
                2,
                "Lines of a map",
                "Geography",
                "Piet Vos",
                "Room 14",
                "09:35",
                38,
                "contours",
            ),
            course(
                3,
                "The leaf spiral",
                "Biology",
                "Mei Tanaka",
                "Garden",
                "11:00",
                81,
                "spiral",
            ),
            course(
                4,
                "Two notes, one curve",
                "Music",
                "Sol Reyes",
                "Hall",
                "13:10",
                24,
                "curves",
            ),
        ],
    },
    School {
        id: "cedar",
        name: "Cedar Hill Academy",
        host: "cedar.localhost",
        people: &[
            person(
                "p-201",
                "ben",
                "Ben Okoye",
                "cedar",
                "pupil",
                &[("Tiles without end", "A"), ("Branches", "B")],
            ),
            person("t-202", "ines", "Inês Duarte", "cedar", "teacher", &[]),
        ],
        courses: &[
            course(
                11,
                "Tiles without end",
                "Mathematics",
                "Inês Duarte",
                "Room 3",
                "08:20",
                47,
                "tiles",
            ),
            course(
                12,
                "Branches",
                "Computing",
                "Olu Adeyemi",
                "Studio",
                "10:05",
                70,
                "branches",
            ),
            course(
                13,
                "Two notes, one curve",
                "Music",
                "Hana Sato",
                "Chapel",
                "11:30",
                15,
                "curves",
            ),
            course(
                14,
                "Tides and moons",
                "Physics",
                "Jon Falk",
                "Lab 1",
                "14:00",
                90,
                "tides",
            ),
        ],
    },
];

/// The open catalogue: the same for everybody.
pub(super) static CATALOGUE: [Offer; 4] = [
    offer(901, "How a bell finds the flock", 2, "Everyone"),
    offer(902, "Reading a timetable", 3, "Everyone"),
    offer(903, "Proof by folding paper", 8, "From year 7"),
    offer(904, "Weather from a window", 12, "From year 9"),
];

const fn person(
    id: &'static str,
    login: &'static str,
    name: &'static str,
    school: &'static str,
    role: &'static str,
    grades: &'static [(&'static str, &'static str)],
) -> Person {
    Person {
        id,
        login,
        name,
        school,
        role,
        grades,
    }
}

#[expect(clippy::too_many_arguments, reason = "a row of the table above")]
const fn course(
    id: u32,
    title: &'static str,
    subject: &'static str,
    teacher: &'static str,
    room: &'static str,
    next: &'static str,
    progress: u8,
    cover: &'static str,
) -> Course {
    Course {
        id,
        title,
        subject,
        teacher,
        room,
        next,
        progress,
        cover,
    }
}

const fn offer(id: u32, title: &'static str, hours: u16, level: &'static str) -> Offer {
    Offer {
        id,
        title,
        hours,
        level,
    }
}

/// The school that the edge named.
pub(super) fn school(id: &str) -> Option<&'static School> {
    SCHOOLS.iter().find(|school| school.id == id)
}

/// A line that somebody left on a course.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Note {
    pub(super) course: u32,
    pub(super) author: &'static str,
    pub(super) text: String,
    #[serde(skip)]
    pub(super) school: &'static str,
}

/// The longest note, in characters.
pub(super) const NOTE_CHARS_MAX: usize = 140;
const NOTES_MAX: usize = 200; // of both schools: the oldest goes first
const SESSIONS_MAX: usize = 1_000;
const LISTENERS_BEHIND_MAX: usize = 64; // a slower event stream skips notes

/// What both colours share.
#[derive(Debug)]
pub(super) struct Registry {
    serial: AtomicU64,
    sessions: Mutex<VecDeque<(String, &'static Person)>>,
    notes: Mutex<VecDeque<Note>>,
    bell: broadcast::Sender<Note>,
}

impl Registry {
    pub(super) fn new() -> Self {
        Self {
            serial: AtomicU64::new(0),
            sessions: Mutex::default(),
            notes: Mutex::default(),
            bell: broadcast::Sender::new(LISTENERS_BEHIND_MAX),
        }
    }

    /// The number of this answer: no two answers of the origins have the same.
    pub(super) fn next_serial(&self) -> u64 {
        self.serial.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Keeps a new session under `token`.
    pub(super) fn sign_in(&self, token: String, person: &'static Person) {
        let mut sessions = self.sessions.lock();
        if sessions.len() == SESSIONS_MAX {
            sessions.pop_front();
        }
        sessions.push_back((token, person));
    }

    /// Ends a session.
    pub(super) fn sign_out(&self, token: &str) {
        self.sessions.lock().retain(|(kept, _)| kept != token);
    }

    /// Whose session this is.
    pub(super) fn signed_in(&self, token: &str) -> Option<&'static Person> {
        let sessions = self.sessions.lock();
        sessions
            .iter()
            .find(|(kept, _)| kept == token)
            .map(|(_, person)| *person)
    }

    /// Keeps a note and tells everybody who listens.
    pub(super) fn add_note(&self, note: Note) {
        let mut notes = self.notes.lock();
        if notes.len() == NOTES_MAX {
            notes.pop_front();
        }
        notes.push_back(note.clone());
        drop(notes);
        // Nobody listening is no error.
        let _ = self.bell.send(note);
    }

    /// How many notes each course of a school has.
    pub(super) fn notes(&self, school: &School) -> BTreeMap<u32, usize> {
        let mut counts = BTreeMap::new();
        for note in self
            .notes
            .lock()
            .iter()
            .filter(|note| note.school == school.id)
        {
            *counts.entry(note.course).or_insert(0) += 1;
        }
        counts
    }

    /// Notes from now on, of both schools: the reader filters.
    pub(super) fn listen(&self) -> broadcast::Receiver<Note> {
        self.bell.subscribe()
    }
}

impl School {
    /// The person with this login, when the passphrase is right.
    pub(super) fn admit(&self, login: &str, passphrase: &str) -> Option<&'static Person> {
        let school = school(self.id)?;
        let person = school.people.iter().find(|person| person.login == login)?;
        (passphrase == PASSPHRASE).then_some(person)
    }
}
