import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { after, before, beforeEach, test } from "node:test";
import { signIn } from "./sign_in.mjs";

const MOBILE = "13800138000";
let service, target, app;

async function sandbox(method, path, fields) {
  const headers = { authorization: `Basic ${btoa(`${target.app_key}:${target.master_secret}`)}` };
  const response = await fetch(`${target.url}/sandbox/${path}`, { method, headers, body: fields && JSON.stringify(fields) });
  assert.equal(response.status, 200);
}

before(async () => {
  service = spawn("smscode", ["serve", "--port", "0", "--json"], { stdio: ["ignore", "pipe", "inherit"] });
  target = JSON.parse((await once(service.stdout, "data"))[0]);
});
after(() => service.kill());
beforeEach(async () => {
  await sandbox("DELETE", "state");
  await sandbox("PUT", `numbers/${MOBILE}`, { code: "123456" });
  app = signIn(target);
});

test("right and wrong code", async () => {
  assert.equal(await app.sendCode(MOBILE), "sent");
  assert.equal(await app.verifyCode(MOBILE, "654321"), "invalid code");
  assert.equal(await app.verifyCode(MOBILE, "123456"), "signed in");
});
test("expired code", async () => {
  await app.sendCode(MOBILE);
  await sandbox("POST", "clock", { advance_s: 301 });
  assert.equal(await app.verifyCode(MOBILE, "123456"), "expired code");
});
test("out of frequency", async () => {
  assert.equal(await app.sendCode(MOBILE), "sent");
  assert.equal(await app.sendCode(MOBILE), "out of freq");
});
test("no money", async () => {
  await sandbox("PUT", `numbers/${MOBILE}`, { send: 50014, times: 1 });
  assert.equal(await app.sendCode(MOBILE), "no money");
  assert.equal(await app.sendCode(MOBILE), "sent");
});
test("provider down", async () => {
  await sandbox("PUT", "faults", { error_share: 1 });
  assert.equal(await app.sendCode(MOBILE), "server error");
  await sandbox("PUT", "faults", { drop_share: 1 });
  await assert.rejects(app.sendCode(MOBILE), TypeError);
});
