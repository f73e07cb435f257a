//! What the double does with calls: the wire's shapes to and from [`rules`](crate::rules), and faults.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::transport::Server;
use tonic::{Code, Request, Response, Status, Streaming};
use uuid::Uuid;

use crate::protocol::event_store::client::server_features::SupportedMethods;
use crate::protocol::event_store::client::server_features::server_features_server::{
    ServerFeatures, ServerFeaturesServer,
};
use crate::protocol::event_store::client::streams::read_req::options::all_options::AllOption;
use crate::protocol::event_store::client::streams::read_req::options::stream_options::RevisionOption;
use crate::protocol::event_store::client::streams::read_req::options::{CountOption, StreamOption};
use crate::protocol::event_store::client::streams::read_resp::read_event::{Position, RecordedEvent};
use crate::protocol::event_store::client::streams::read_resp::{Content, ReadEvent, StreamNotFound};
use crate::protocol::event_store::client::streams::streams_server::{
    Streams as StreamsService, StreamsServer,
};
use crate::protocol::event_store::client::streams::{
    AppendReq, AppendResp, BatchAppendReq, BatchAppendResp, DeleteReq, DeleteResp, ReadReq, ReadResp,
    TombstoneReq, TombstoneResp, append_req, append_resp, delete_req, delete_resp, tombstone_req,
    tombstone_resp,
};
use crate::protocol::event_store::client::{Empty, StreamIdentifier, Uuid as WireUuid, uuid::Value};
use crate::rules::{self, Expected, Proposed, Read, Refusal};
use crate::{Call, Fault, Method, Shared};

/// Serves connections until there come no more.
pub(crate) async fn serve(shared: Arc<Shared>, connections: mpsc::Receiver<std::io::Result<DuplexStream>>) {
    let served = Server::builder()
        .add_service(StreamsServer::from_arc(Arc::clone(&shared)))
        .add_service(ServerFeaturesServer::from_arc(shared))
        .serve_with_incoming(ReceiverStream::new(connections))
        .await;
    served.expect("the double serves");
}

/// What is left of a fault when the call was let through.
enum Then {
    Answer,
    Fail(Status),
    Cut,
    Wait(std::time::Duration),
    Shorten(usize),
}

fn unavailable() -> Status {
    Status::unavailable("the double fails as it was told to")
}

fn exception(code: Code, message: &str, entries: &[(&'static str, String)]) -> Status {
    let mut metadata = MetadataMap::new();
    for (name, value) in entries {
        metadata.insert(*name, MetadataValue::try_from(value.as_str()).expect("plain text"));
    }
    Status::with_metadata(code, message, metadata)
}

fn stream_deleted(stream: &str) -> Status {
    let entries = [("exception", "stream-deleted".to_owned()), ("stream-name", stream.to_owned())];
    exception(Code::FailedPrecondition, "Event stream is deleted.", &entries)
}

fn bad(what: &str) -> Status {
    Status::invalid_argument(what.to_owned())
}

#[expect(clippy::result_large_err, reason = "a call is refused with tonic's own type")]
fn name_of(stream: Option<StreamIdentifier>) -> Result<String, Status> {
    let stream = stream.ok_or_else(|| bad("no stream is named"))?;
    String::from_utf8(stream.stream_name).map_err(|_| bad("the stream's name is not UTF-8"))
}

impl Shared {
    /// Lets a call come in: counts it, and lets it fail if it is to.
    async fn enter(&self, method: Method, stream: &str) -> Result<Then, Status> {
        let number = self.calls[method as usize].fetch_add(1, Ordering::SeqCst);
        let call = Call { method, stream: stream.to_owned(), number };
        let fault = (self.plan.lock())(&call);
        match fault {
            None => Ok(Then::Answer),
            Some(Fault::Lost) => Err(unavailable()),
            Some(Fault::Unheard) => Ok(Then::Fail(unavailable())),
            Some(Fault::CutBefore) => {
                self.cut();
                Err(unavailable())
            }
            Some(Fault::CutAfter) => Ok(Then::Cut),
            Some(Fault::Slow(time)) => {
                tokio::time::sleep(time).await;
                Ok(Then::Answer)
            }
            Some(Fault::SlowAnswer(time)) => Ok(Then::Wait(time)),
            Some(Fault::NotLeader) => {
                let entries = [
                    ("exception", "not-leader".to_owned()),
                    ("leader-endpoint-host", "127.0.0.1".to_owned()),
                    ("leader-endpoint-port", self.port.to_string()),
                ];
                Err(exception(Code::NotFound, "Leader info available", &entries))
            }
            Some(Fault::Denied) => Err(Status::permission_denied("Access Denied")),
            Some(Fault::Short(count)) => Ok(Then::Shorten(count)),
        }
    }

    async fn leave<T>(&self, then: Then, answer: T) -> Result<Response<T>, Status> {
        match then {
            Then::Answer | Then::Shorten(_) => {}
            Then::Fail(status) => return Err(status),
            Then::Cut => {
                self.cut();
                return Err(unavailable());
            }
            Then::Wait(time) => tokio::time::sleep(time).await,
        }
        Ok(Response::new(answer))
    }
}

fn refused(refusal: Refusal, stream: &str) -> Status {
    match refusal {
        Refusal::StreamDeleted => stream_deleted(stream),
        Refusal::TooLarge => {
            let entries = [
                ("exception", "maximum-append-size-exceeded".to_owned()),
                ("maximum-append-size", rules::APPEND_BYTES_MAX.to_string()),
            ];
            exception(Code::InvalidArgument, "Maximum Append Size Exceeded.", &entries)
        }
        Refusal::WrongExpectedVersion(last) => {
            let last = last.map_or("-1".to_owned(), |last| last.to_string());
            let entries = [("exception", "wrong-expected-version".to_owned()), ("actual-version", last)];
            exception(Code::FailedPrecondition, "WrongExpectedVersion", &entries)
        }
    }
}

fn wrong_version(expected: Expected, last: Option<u64>) -> append_resp::WrongExpectedVersion {
    use append_resp::wrong_expected_version::{CurrentRevisionOption as Current, ExpectedRevisionOption};
    use append_resp::wrong_expected_version::{
        CurrentRevisionOption2060 as OldCurrent, ExpectedRevisionOption2060 as Old,
    };
    append_resp::WrongExpectedVersion {
        current_revision_option_20_6_0: Some(match last {
            Some(last) => OldCurrent::CurrentRevision2060(last),
            None => OldCurrent::NoStream2060(Empty {}),
        }),
        expected_revision_option_20_6_0: match expected {
            Expected::Exact(revision) => Some(Old::ExpectedRevision2060(revision)),
            Expected::Any => Some(Old::Any2060(Empty {})),
            Expected::StreamExists => Some(Old::StreamExists2060(Empty {})),
            Expected::NoStream => None,
        },
        current_revision_option: Some(match last {
            Some(last) => Current::CurrentRevision(last),
            None => Current::CurrentNoStream(Empty {}),
        }),
        expected_revision_option: Some(match expected {
            Expected::Exact(revision) => ExpectedRevisionOption::ExpectedRevision(revision),
            Expected::Any => ExpectedRevisionOption::ExpectedAny(Empty {}),
            Expected::StreamExists => ExpectedRevisionOption::ExpectedStreamExists(Empty {}),
            Expected::NoStream => ExpectedRevisionOption::ExpectedNoStream(Empty {}),
        }),
    }
}

#[expect(clippy::result_large_err, reason = "a call is refused with tonic's own type")]
fn proposed(message: append_req::ProposedMessage) -> Result<Proposed, Status> {
    let id = match message.id.and_then(|id| id.value) {
        Some(Value::String(text)) => Uuid::parse_str(&text).map_err(|_| bad("an event's id is no UUID"))?,
        Some(Value::Structured(halves)) => {
            Uuid::from_u64_pair(halves.most_significant_bits as u64, halves.least_significant_bits as u64)
        }
        None => return Err(bad("an event has no id")),
    };
    for name in ["type", "content-type"] {
        if !message.metadata.contains_key(name) {
            return Err(bad(&format!("Required Metadata Property '{name}' is missing")));
        }
    }
    Ok(Proposed { id, system: message.metadata, metadata: message.custom_metadata, data: message.data })
}

fn wire_event(recorded: rules::Recorded) -> ReadResp {
    let mut metadata: HashMap<String, String> = recorded.event.system;
    metadata.insert("created".to_owned(), recorded.created.to_string());
    let event = RecordedEvent {
        id: Some(WireUuid { value: Some(Value::String(recorded.event.id.to_string())) }),
        stream_identifier: Some(StreamIdentifier { stream_name: recorded.stream.into_bytes() }),
        stream_revision: recorded.revision,
        prepare_position: recorded.position,
        commit_position: recorded.position,
        metadata,
        custom_metadata: recorded.event.metadata,
        data: recorded.event.data,
    };
    let position = Some(Position::CommitPosition(recorded.position));
    ReadResp { content: Some(Content::Event(ReadEvent { event: Some(event), link: None, position })) }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl StreamsService for Shared {
    type ReadStream = Answers<ReadResp>;
    type BatchAppendStream = Answers<BatchAppendResp>;

    async fn read(&self, request: Request<ReadReq>) -> Result<Response<Self::ReadStream>, Status> {
        let options = request.into_inner().options.ok_or_else(|| bad("no options"))?;
        let Some(CountOption::Count(count)) = options.count_option else {
            return Err(Status::unimplemented("the double has no subscriptions"));
        };
        let forwards = options.read_direction == 0;
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let (then, mut answers) = match options.stream_option.ok_or_else(|| bad("no stream"))? {
            StreamOption::All(all) => {
                let from = match all.all_option.ok_or_else(|| bad("no position"))? {
                    AllOption::Position(position) => Some(position.commit_position),
                    AllOption::Start(_) | AllOption::End(_) => None,
                };
                let then = self.enter(Method::Read, "$all").await?;
                let events = self.streams.lock().read_all(from, forwards, count);
                (then, events.into_iter().map(wire_event).collect::<Vec<_>>())
            }
            StreamOption::Stream(stream) => {
                let name = name_of(stream.stream_identifier)?;
                let from = match stream.revision_option.ok_or_else(|| bad("no revision"))? {
                    RevisionOption::Revision(revision) => Some(revision),
                    RevisionOption::Start(_) | RevisionOption::End(_) => None,
                };
                let then = self.enter(Method::Read, &name).await?;
                let read = self.streams.lock().read(&name, from, forwards, count);
                let answers = match read.map_err(|refusal| refused(refusal, &name))? {
                    Read::NotFound => {
                        let stream_identifier = Some(StreamIdentifier { stream_name: name.into_bytes() });
                        vec![ReadResp {
                            content: Some(Content::StreamNotFound(StreamNotFound { stream_identifier })),
                        }]
                    }
                    Read::Events(events, last) => {
                        let mut answers: Vec<_> = events.into_iter().map(wire_event).collect();
                        if options.control_option.is_some_and(|control| control.compatibility > 0) {
                            answers.push(ReadResp { content: Some(Content::LastStreamPosition(last)) });
                        }
                        answers
                    }
                };
                (then, answers)
            }
        };
        if let Then::Shorten(count) = then {
            answers.truncate(count);
        }
        let answers: Self::ReadStream = Box::pin(tokio_stream::iter(answers.into_iter().map(Ok)));
        self.leave(then, answers).await
    }

    async fn append(&self, request: Request<Streaming<AppendReq>>) -> Result<Response<AppendResp>, Status> {
        use append_req::options::ExpectedStreamRevision as Wire;
        let mut messages = request.into_inner();
        let first = messages.message().await?.and_then(|message| message.content);
        let Some(append_req::Content::Options(options)) = first else { return Err(bad("no options first")) };
        let name = name_of(options.stream_identifier)?;
        let expected = match options.expected_stream_revision.ok_or_else(|| bad("nothing expected"))? {
            Wire::Revision(revision) => Expected::Exact(revision),
            Wire::NoStream(_) => Expected::NoStream,
            Wire::Any(_) => Expected::Any,
            Wire::StreamExists(_) => Expected::StreamExists,
        };
        let mut events = Vec::new();
        while let Some(message) = messages.message().await? {
            match message.content {
                Some(append_req::Content::ProposedMessage(message)) => events.push(proposed(message)?),
                _ => return Err(bad("an event was to come")),
            }
        }
        let then = self.enter(Method::Append, &name).await?;
        let appended = self.streams.lock().append(&name, expected, events);
        let result = match appended {
            Ok((revision, position)) => {
                use append_resp::success::{CurrentRevisionOption, PositionOption};
                append_resp::Result::Success(append_resp::Success {
                    current_revision_option: Some(match revision {
                        Some(revision) => CurrentRevisionOption::CurrentRevision(revision),
                        None => CurrentRevisionOption::NoStream(Empty {}),
                    }),
                    position_option: Some(PositionOption::Position(append_resp::Position {
                        commit_position: position,
                        prepare_position: position,
                    })),
                })
            }
            Err(Refusal::WrongExpectedVersion(last)) => {
                append_resp::Result::WrongExpectedVersion(wrong_version(expected, last))
            }
            Err(refusal) => return Err(refused(refusal, &name)),
        };
        self.leave(then, AppendResp { result: Some(result) }).await
    }

    async fn delete(&self, request: Request<DeleteReq>) -> Result<Response<DeleteResp>, Status> {
        use delete_req::options::ExpectedStreamRevision as Wire;
        let options = request.into_inner().options.ok_or_else(|| bad("no options"))?;
        let name = name_of(options.stream_identifier)?;
        let expected = match options.expected_stream_revision.ok_or_else(|| bad("nothing expected"))? {
            Wire::Revision(revision) => Expected::Exact(revision),
            Wire::NoStream(_) => Expected::NoStream,
            Wire::Any(_) => Expected::Any,
            Wire::StreamExists(_) => Expected::StreamExists,
        };
        let position = self.streams.lock().delete(&name, expected).map_err(|r| refused(r, &name))?;
        let position = delete_resp::Position { commit_position: position, prepare_position: position };
        let position_option = Some(delete_resp::PositionOption::Position(position));
        Ok(Response::new(DeleteResp { position_option }))
    }

    async fn tombstone(&self, request: Request<TombstoneReq>) -> Result<Response<TombstoneResp>, Status> {
        use tombstone_req::options::ExpectedStreamRevision as Wire;
        let options = request.into_inner().options.ok_or_else(|| bad("no options"))?;
        let name = name_of(options.stream_identifier)?;
        let expected = match options.expected_stream_revision.ok_or_else(|| bad("nothing expected"))? {
            Wire::Revision(revision) => Expected::Exact(revision),
            Wire::NoStream(_) => Expected::NoStream,
            Wire::Any(_) => Expected::Any,
            Wire::StreamExists(_) => Expected::StreamExists,
        };
        let then = self.enter(Method::Tombstone, &name).await?;
        let position = self.streams.lock().tombstone(&name, expected).map_err(|r| refused(r, &name))?;
        let position = tombstone_resp::Position { commit_position: position, prepare_position: position };
        let position_option = Some(tombstone_resp::PositionOption::Position(position));
        self.leave(then, TombstoneResp { position_option }).await
    }

    async fn batch_append(
        &self,
        _: Request<Streaming<BatchAppendReq>>,
    ) -> Result<Response<Self::BatchAppendStream>, Status> {
        Err(Status::unimplemented("the double has no batch append: rota does not use it"))
    }
}

#[tonic::async_trait]
impl ServerFeatures for Shared {
    async fn get_supported_methods(&self, _: Request<Empty>) -> Result<Response<SupportedMethods>, Status> {
        let event_store_server_version = "23.10.0".to_owned();
        Ok(Response::new(SupportedMethods { methods: Vec::new(), event_store_server_version }))
    }
}
