"""Anonymise photographs of one person on a VerA server, without VerA (docs/protocol.md).

pip install "tritonclient[grpc]"
python plain_client.py localhost:8001 mouth before.jpg after.jpg

For a server on this machine: nothing is encrypted here (elsewhere take grpc.secure_channel), and
the server's word is taken for everything.
"""

import json
import secrets
import sys
from pathlib import Path

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc


def packed(elements):
    return b"".join(len(element).to_bytes(4, "little") + element for element in elements)


def main(address, keep, *photos):
    options = {
        "protocol": 1,
        "task": "anonymize",
        "photos": [{"keep": keep} for _ in photos],
        "seed": secrets.randbelow(2**63),  # here, so that the same request may be sent again
        "deadline_s": 300,
    }
    request = service_pb2.ModelInferRequest(model_name="anonymize")
    files = [Path(photo).read_bytes() for photo in photos]
    for name, elements in (("OPTIONS", [json.dumps(options).encode()]), ("PHOTOS", files)):
        request.inputs.add(name=name, datatype="BYTES", shape=[len(elements)])
        request.raw_input_contents.append(packed(elements))

    unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    images, done, failure = {}, False, ""
    with grpc.insecure_channel(address, unlimited) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        for answer in stub.ModelStreamInfer(iter([request]), timeout=300):
            failure = failure or answer.error_message
            if failure:
                continue  # to the end: an early leave makes some servers slow to stop
            response = answer.infer_response
            names = [output.name for output in response.outputs]
            tensors = dict(zip(names, response.raw_output_contents, strict=True))
            event = json.loads(tensors["EVENT"][4:]) if tensors else {"event": "nothing"}
            if event["event"] == "progress":
                print(f"{event['stage']} {event['fraction']:.0%}")
            elif event["event"] == "result":
                print(event["report"]["verdict"], event["report"]["message"] or "")
                images[event["index"]] = tensors.get("IMAGE", b"")[4:]
            done = done or event["event"] == "done"
    if failure or not done:
        sys.exit(failure or "The server broke off; nothing of this case may be used.")
    for index, image in images.items():
        if image:  # a refused photograph has none
            Path(f"anon_{index + 1}.png").write_bytes(image)


if __name__ == "__main__":
    main(*sys.argv[1:])
