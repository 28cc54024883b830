"""Publish with plain pika (pip install pika): no kit, and nobody declared the runtime before."""

import json
import os
import uuid

import pika

URL = os.environ.get("MEERKAT_AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/")
NAMESPACE = os.environ.get("MEERKAT_NAMESPACE", "meerkat")

prompt_id = str(uuid.uuid4())
prompt = {
    "input_type": "prompt",
    "header": {"id": prompt_id, "source": {"type": "external", "source_name": "pika"}},
    "text": "What is new?",
}

with pika.BlockingConnection(pika.URLParameters(URL)) as connection:
    channel = connection.channel()
    channel.confirm_delivery()  # From here on a publish that the broker has not got safe raises.
    channel.basic_publish(
        exchange=f"{NAMESPACE}.inbox",
        routing_key="assistant-3",  # the runtime id
        body=json.dumps(prompt),
        properties=pika.BasicProperties(
            message_id=prompt_id, type="input", content_type="application/json", delivery_mode=2
        ),
        mandatory=True,
    )
print("published", prompt_id)
