"""A sign-in by SMS code: Flask with the vendor's client."""

import requests
from flask import Flask, abort, request
from jsms import Jsms

OUT_OF_FREQ, VERDICTS = 50009, (50010, 50011, 50012)


def create_app(client: Jsms, temp_id: int) -> Flask:
    app = Flask(__name__)
    msg_ids: dict[str, str] = {}  # by mobile; processes would share it in a database

    def call(method, *arguments) -> dict:
        try:
            return method(*arguments)
        except requests.RequestException:
            abort(503, "the provider does not respond")

    @app.post("/codes")
    def send_code():
        response = call(client.send_code, request.form["mobile"], temp_id)
        if "error" in response:
            abort(429 if response["error"]["code"] == OUT_OF_FREQ else 503)
        msg_ids[request.form["mobile"]] = response["msg_id"]
        return "sent"

    @app.post("/sign-in")
    def sign_in():
        response = call(client.verify_code, msg_ids.get(request.form["mobile"], "none"), request.form["code"])
        if "error" in response:
            abort(403 if response["error"]["code"] in VERDICTS else 503)
        return "welcome"

    return app
