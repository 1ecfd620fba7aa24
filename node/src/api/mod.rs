//! The APIs: each file turns requests into domain steps and their outcomes into answers.

pub mod control;
pub mod features;
pub mod fetch;
pub mod info;
pub mod lookups;
pub mod negotiation;
pub(crate) mod no_room;
pub mod produce;
pub mod quorum;
pub mod replicas;
pub(crate) mod vlsn;

use kafka_protocol::messages::FetchResponse;
use kafka_protocol::protocol::StrBytes;
use pyralog_protocol::fetch::encode_fetch_pieces;
use pyralog_protocol::{
    ApiKey, Draw, EpochOffset, ErrorCode, LeaderEpoch, Now, RequestHead, Response, TopicId, encode_response,
    kafka_protocol,
};
use pyralog_storage::{Disk, Log};
use uuid::Uuid;

use crate::connection::{Answer, Connection, Piece, Ticket};
use crate::outputs::Outputs;
use crate::partition::Bounds;

/// One request being served: whose it is, when, and where its effects go.
pub(crate) struct Step<'a, D: Disk> {
    pub conn: &'a mut Connection,
    pub asked: Asked,
    pub draw: Draw,
    pub now: Now,
    pub out: &'a mut Outputs<D>,
}

impl<D: Disk> Step<'_, D> {
    /// Answers at once, in the request's place.
    pub fn answer(&mut self, response: impl Into<Response>) {
        let ticket = self.conn.reserve(true);
        let (ticket, answer) = self.asked.responder(ticket).answer(response.into());
        self.conn.complete(ticket.slot, answer);
    }
}

/// How an answer is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// As a frame, for a client of the Kafka protocol.
    Frame,
    /// As a value, for the shell itself.
    Value,
}

/// The header of a request that is being served.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub form: Form,
    pub version: i16,
    pub correlation_id: i32,
    pub client_id: Option<StrBytes>,
    /// Where the client reached us.
    pub local: (String, u16),
    /// Bytes that it came in with.
    pub bytes: usize,
}

impl Asked {
    pub fn new((head, bytes): (RequestHead, usize), local: (String, u16)) -> Self {
        let RequestHead { version, correlation_id, client_id, .. } = head;
        Self { form: Form::Frame, version, correlation_id, client_id, local, bytes }
    }

    /// A request of the shell itself, in the newest version of its API.
    pub fn by_shell((api, bytes): (ApiKey, usize), local: (String, u16)) -> Self {
        let version = api.spec().served.max;
        Self { form: Form::Value, version, correlation_id: 0, client_id: None, local, bytes }
    }

    pub fn responder(&self, ticket: Ticket) -> Responder {
        let Self { form, version, correlation_id, .. } = *self;
        Responder { ticket, form, version, correlation_id, local: self.local.clone() }
    }
}

/// Where and how an answer goes.
#[derive(Clone, Debug)]
pub(crate) struct Responder {
    pub ticket: Ticket,
    pub form: Form,
    pub version: i16,
    pub correlation_id: i32,
    pub local: (String, u16),
}

impl Responder {
    /// Encodes an answer. One that cannot be encoded is a bug of ours: the connection closes, because silence would
    /// hang the client (E5).
    pub fn answer(&self, response: Response) -> (Ticket, Answer) {
        if self.form == Form::Value {
            return (self.ticket, Answer::Value(Box::new(response)));
        }
        let answer = match encode_response(self.correlation_id, self.version, response) {
            Ok(bytes) => Answer::Frame(bytes),
            Err(error) => Answer::Unencodable(error.to_string()),
        };
        (self.ticket, answer)
    }
}

impl Responder {
    /// Encodes a fetch answer around its records: those of each partition in order, where there are any.
    pub fn fetch_answer(&self, response: FetchResponse, lengths: &[usize], records: Vec<Piece>) -> (Ticket, Answer) {
        let answer = match encode_fetch_pieces(self.correlation_id, self.version, response, lengths) {
            Ok(heads) => {
                let mut records = records.into_iter();
                let mut pieces = Vec::with_capacity(2 * heads.len());
                for head in heads {
                    pieces.push(Piece::Bytes(head));
                    pieces.extend(records.next());
                }
                Answer::Pieces(pieces)
            }
            Err(error) => Answer::Unencodable(error.to_string()),
        };
        (self.ticket, answer)
    }
}

/// Whether a reader may ask for that: for all records, or for committed ones.
pub(crate) fn is_isolation_level(level: i8) -> bool {
    matches!(level, 0 | 1)
}

/// The leader epoch of a client that names none.
pub(crate) const NO_EPOCH: i32 = -1;

/// The refusal when a client's idea of the leader epoch is not ours (F13, KIP-320).
pub(crate) fn epoch_refusal(asked: i32, current: LeaderEpoch) -> Option<ErrorCode> {
    match asked {
        NO_EPOCH => None,
        epoch if epoch > current.0 => Some(ErrorCode::UnknownLeaderEpoch),
        epoch if epoch < current.0 => Some(ErrorCode::FencedLeaderEpoch),
        _ => None,
    }
}

/// The largest epoch ≤ `asked` that wrote something, and where it ended (L11); the asked one where none did. `None`: the epoch is newer than
/// the leader's.
pub(crate) fn epoch_end<D: Disk>(log: &Log<D>, bounds: Bounds, asked: i32) -> Option<EpochOffset> {
    if asked == NO_EPOCH || asked > bounds.epoch.0 {
        return None;
    }
    if asked == bounds.epoch.0 {
        return Some(EpochOffset { epoch: bounds.epoch, offset: log.log_end() });
    }
    // An epoch in which nothing was written ended where the leader's own will begin: nothing is missing for whoever read in it.
    let unwritten =
        || EpochOffset { epoch: log.epoch_at(log.log_end()).unwrap_or(LeaderEpoch(asked)), offset: log.log_end() };
    Some(log.end_offset_for_epoch(LeaderEpoch(asked)).unwrap_or_else(unwritten))
}

/// A topic id as the message structs hold it.
pub(crate) fn uuid(id: TopicId) -> Uuid {
    Uuid::from_bytes(id.0)
}
