//! Topic ids: librdkafka describes topics through its admin calls, which rust-rdkafka does not offer. Owns one question and its answer; does not judge an id.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr::NonNull;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rdkafka::bindings as sys;
use rdkafka::consumer::Consumer as _;

use crate::source::client::Consumer;

/// How much longer than the broker the answer's queue is waited for: librdkafka itself answers a request that timed out.
const GRACE_MS: c_int = 1_000;

/// A question that got no answer.
#[derive(Debug)]
pub(in crate::source) enum Undescribed {
    /// The broker refuses this topic, or does not know it.
    Topic { topic: String, reason: String },
    /// The question itself failed.
    Unreachable(String),
}

/// The id of each topic as `kafka-topics --describe` spells it; `None` where the broker has none (before Kafka 2.8). Any broker can tell; librdkafka asks the controller,
/// which may be away, unless it is told whom to ask.
#[expect(unsafe_code, reason = "asks through librdkafka's admin calls")]
pub(in crate::source) fn topic_ids(
    consumer: &Consumer,
    topics: &[String],
    broker: Option<i32>,
    timeout: Duration,
) -> Result<BTreeMap<String, Option<String>>, Undescribed> {
    let names = topics
        .iter()
        .map(|topic| CString::new(topic.as_bytes()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| Undescribed::Unreachable("the topic's name holds a zero byte".to_owned()))?;
    let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    let timeout_ms = c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX / 2);
    let client = consumer.client().native_ptr();
    // SAFETY: the client lives as long as `consumer`; the names outlive the collection that copies them; queue, options, collection and event are ours and are
    // destroyed once, the event after it was read.
    unsafe {
        let queue = sys::rd_kafka_queue_new(client);
        let options = sys::rd_kafka_AdminOptions_new(
            client,
            sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
        );
        let mut refusal = [0; 256];
        sys::rd_kafka_AdminOptions_set_request_timeout(
            options,
            timeout_ms,
            refusal.as_mut_ptr(),
            refusal.len(),
        );
        if let Some(broker) = broker {
            sys::rd_kafka_AdminOptions_set_broker(
                options,
                broker,
                refusal.as_mut_ptr(),
                refusal.len(),
            );
        }
        let collection =
            sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        sys::rd_kafka_DescribeTopics(client, collection, options, queue);
        sys::rd_kafka_TopicCollection_destroy(collection);
        sys::rd_kafka_AdminOptions_destroy(options);
        let event = sys::rd_kafka_queue_poll(queue, timeout_ms.saturating_add(GRACE_MS));
        sys::rd_kafka_queue_destroy(queue);
        let Some(event) = NonNull::new(event) else {
            return Err(Undescribed::Unreachable("no answer in time".to_owned()));
        };
        let answer = read(event);
        sys::rd_kafka_event_destroy(event.as_ptr());
        answer
    }
}

#[expect(unsafe_code, reason = "reads an event that librdkafka owns")]
// SAFETY: the caller passes an event that is valid during the call.
unsafe fn read(
    event: NonNull<sys::rd_kafka_event_t>,
) -> Result<BTreeMap<String, Option<String>>, Undescribed> {
    let event = event.as_ptr();
    // SAFETY: everything that is read belongs to the event.
    unsafe {
        if sys::rd_kafka_event_error(event) != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
        {
            return Err(Undescribed::Unreachable(text(
                sys::rd_kafka_event_error_string(event),
            )));
        }
        let result = sys::rd_kafka_event_DescribeTopics_result(event);
        if result.is_null() {
            return Err(Undescribed::Unreachable(
                "the answer is to another question".to_owned(),
            ));
        }
        let mut count = 0;
        let topics = sys::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        let mut ids = BTreeMap::new();
        for index in 0..count {
            let description = *topics.add(index);
            let topic = text(sys::rd_kafka_TopicDescription_name(description));
            let error = sys::rd_kafka_TopicDescription_error(description);
            if !error.is_null()
                && sys::rd_kafka_error_code(error)
                    != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
            {
                let reason = text(sys::rd_kafka_error_string(error));
                return Err(Undescribed::Topic { topic, reason });
            }
            ids.insert(
                topic,
                spelled(sys::rd_kafka_TopicDescription_topic_id(description)),
            );
        }
        Ok(ids)
    }
}

#[expect(unsafe_code, reason = "reads an id that librdkafka owns")]
// SAFETY: the caller passes null or an id that is valid during the call.
unsafe fn spelled(id: *const sys::rd_kafka_Uuid_t) -> Option<String> {
    if id.is_null() {
        return None;
    }
    // SAFETY: as above.
    let (high, low) = unsafe {
        (
            sys::rd_kafka_Uuid_most_significant_bits(id),
            sys::rd_kafka_Uuid_least_significant_bits(id),
        )
    };
    spell(high, low)
}

/// Kafka's spelling of an id; zero is none.
fn spell(high: i64, low: i64) -> Option<String> {
    let bytes: Vec<u8> = high
        .to_be_bytes()
        .into_iter()
        .chain(low.to_be_bytes())
        .collect();
    (high != 0 || low != 0).then(|| URL_SAFE_NO_PAD.encode(bytes))
}

#[expect(unsafe_code, reason = "reads a text that librdkafka owns")]
// SAFETY: the caller passes null or a text that is valid during the call.
unsafe fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: as above.
    unsafe { CStr::from_ptr(pointer).to_string_lossy().into_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_spelled_as_kafka_spells_them_and_zero_is_none() {
        assert_eq!(spell(0, 0), None);
        assert_eq!(
            spell(-1, 0x0123_4567_89ab_cdef).as_deref(),
            Some("__________8BI0VniavN7w")
        );
    }
}
