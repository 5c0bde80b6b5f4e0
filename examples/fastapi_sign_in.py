"""A sign-in by SMS code: FastAPI with the async client."""

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, Field

from toolkit import AsyncClient, CallError, ReturnCode, ReturnCodeError


class CodeForm(BaseModel):
    mobile: str = Field(pattern="^1[3-9][0-9]{9}$")


class SignInForm(CodeForm):
    code: str = Field(pattern="^[0-9]{6}$")


def create_app(client: AsyncClient, temp_id: int) -> FastAPI:
    app = FastAPI()
    msg_ids: dict[str, str] = {}  # by mobile; processes would share it in a database

    @app.post("/codes")
    async def send_code(form: CodeForm) -> None:
        try:
            msg_ids[form.mobile] = (await client.send_code(form.mobile, temp_id)).msg_id
        except CallError as error:
            if isinstance(error, ReturnCodeError) and error.return_code is ReturnCode.OUT_OF_FREQ:
                headers = {"Retry-After": str(error.retry_after_s)} if error.retry_after_s is not None else None
                raise HTTPException(429, "wait", headers) from None
            raise HTTPException(503, "no code can be sent now") from error

    @app.post("/sign-in")
    async def sign_in(form: SignInForm) -> None:
        try:
            verification = await client.verify_code(msg_ids.get(form.mobile, "none"), form.code)
        except CallError as error:
            raise HTTPException(503, "no code can be verified now") from error
        if not verification:
            raise HTTPException(403, verification.message)

    return app
