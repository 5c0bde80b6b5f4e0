// A sign-in by SMS code with Node's own fetch.

export function signIn({ url, app_key, master_secret, temp_id }) {
  const authorization = `Basic ${btoa(`${app_key}:${master_secret}`)}`;
  const msgIds = new Map(); // by mobile; processes would share it in a database

  async function call(path, fields) {
    const headers = { authorization, "content-type": "application/json" };
    const response = await fetch(url + path, { method: "POST", headers, body: JSON.stringify(fields) });
    return response.json();
  }

  return {
    async sendCode(mobile) {
      const reply = await call("/v1/codes", { mobile, temp_id });
      if (reply.error) return reply.error.message;
      msgIds.set(mobile, reply.msg_id);
      return "sent";
    },
    async verifyCode(mobile, code) {
      const reply = await call(`/v1/codes/${msgIds.get(mobile)}/valid`, { code });
      return reply.is_valid ? "signed in" : reply.error.message;
    },
  };
}
