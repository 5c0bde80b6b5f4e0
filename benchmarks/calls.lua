-- What wrk calls for service.py. Arguments: mode, authorization, temp_id, first mobile, file of codes, count.
--   send     sends, each to a mobile of its own
--   mix      a send and a verify in turn, the verify with a right code out of the file
--   prepare  with one connection a thread: sends, reads the code and adds "msg_id code" to the file
--   fill     sends until that many were accepted
-- Every answer must be the success of a call that was made; all others count as refused.

local MOBILES_A_THREAD = 300000
local threads = {}

function setup(thread)
   thread:set("number", #threads)
   table.insert(threads, thread)
end

local function post(path, body)
   return head_of_post:format(path, #body) .. body
end

local function send()
   mobile = mobile + 1
   return post("/v1/codes", ('{"mobile":"%d","temp_id":%s}'):format(mobile, temp_id))
end

local function verify()
   next_code = next_code + 1
   local msg_id, code = (codes[next_code] or ""):match("(%S+) (%d+)")
   if not msg_id then return send() end
   return post("/v1/codes/" .. msg_id .. "/valid", ('{"code":"%s"}'):format(code))
end

local function mix()
   odd = not odd
   return odd and send() or verify()
end

local function prepare()
   return msg_id and head_of_get:format("/sandbox/messages/" .. msg_id) or send()
end

function init(args)
   local mode, authorization, first = args[1], args[2], tonumber(args[4])
   local headers = " HTTP/1.1\r\nHost: " .. wrk.headers["Host"] .. "\r\nAuthorization: " .. authorization .. "\r\n"
   head_of_get = "GET %s" .. headers .. "\r\n"
   head_of_post = "POST %s" .. headers .. "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
   temp_id, mobile, count = args[3], first + number * MOBILES_A_THREAD, tonumber(args[6])
   sent, verified, peeked, refused, codes, next_code = 0, 0, 0, 0, {}, 0
   if mode == "mix" then
      for line in io.lines(args[5]) do table.insert(codes, line) end
   elseif mode == "prepare" then
      file = io.open(args[5], "a")
      file:setvbuf("line")
   end
   request = ({send = send, mix = mix, prepare = prepare, fill = send})[mode]
end

-- A thread that stops leaves wrk asleep until its duration is over.
function finish_early()
   io.write(("RESULT 0 %d 0 0 %d 0 0 0 %s\n"):format(sent, refused, refusal or ""))
   os.exit(0)
end

function response(status, _, body)
   local code = body:match('"code": ?"(%d+)"')
   if status == 200 and body:find('"msg_id"', 1, true) then
      sent = sent + 1
      if file then msg_id = body:match('"msg_id": ?"([^"]+)"') end
      if sent == count then finish_early() end
   elseif status == 200 and body:find('"is_valid"', 1, true) then
      verified = verified + 1
   elseif status == 200 and code and msg_id then
      peeked = peeked + 1
      file:write(msg_id .. " " .. code .. "\n")
      msg_id = nil
   else
      refused = refused + 1
      refusal = status .. " " .. body
      msg_id = nil
   end
end

local function total(name)
   local sum = 0
   for _, thread in ipairs(threads) do sum = sum + thread:get(name) end
   return sum
end

function done(summary, latency)
   local errors, refusal = summary.errors, threads[1]:get("refusal") or ""
   local broken = errors.connect + errors.read + errors.write + errors.timeout
   local kinds = ("connect %d, read %d, write %d, timeout %d; "):format(
      errors.connect, errors.read, errors.write, errors.timeout)
   io.write(("RESULT %d %d %d %d %d %d %d %d %s\n"):format(
      summary.duration, total("sent"), total("verified"), total("peeked"), total("refused"), broken,
      latency:percentile(50), latency:percentile(99), kinds .. refusal:gsub("%s+", " ")))
end
