"""A sign-in by SMS code: FastAPI with the async client."""

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

from toolkit import AsyncClient, CallError, ReturnCode, ReturnCodeError


class Form(BaseModel):
    mobile: str
    code: str = ""


def create_app(client: AsyncClient, temp_id: int) -> FastAPI:
    app = FastAPI()
    msg_ids: dict[str, str] = {}  # by mobile; processes would share it in a database

    @app.post("/codes")
    async def send_code(form: Form) -> None:
        try:
            msg_ids[form.mobile] = (await client.send_code(form.mobile, temp_id)).msg_id
        except CallError as error:
            if isinstance(error, ReturnCodeError) and error.return_code is ReturnCode.OUT_OF_FREQ:
                raise HTTPException(429, "wait", {"Retry-After": str(error.retry_after_s)}) from None
            raise HTTPException(503, "no code can be sent now") from error

    @app.post("/sign-in")
    async def sign_in(form: Form) -> None:
        try:
            verification = await client.verify_code(msg_ids.get(form.mobile, "none"), form.code)
        except CallError as error:
            raise HTTPException(503, "no code can be verified now") from error
        if not verification:
            raise HTTPException(403, verification.message)

    return app
