-- What wrk calls for load.py: a send and a verify in turn, as the users of load_users.py do. Argument: authorization.

local turn = 0

function init(arguments)
   local head = "\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: application/json\r\nAuthorization: "
      .. arguments[1]
   local function written(path, body)
      return "POST " .. path .. " HTTP/1.1" .. head .. "\r\nContent-Length: " .. #body .. "\r\n\r\n" .. body
   end
   requests = {
      [0] = written("/v1/codes", '{"mobile":"13800138000","temp_id":1}'),
      [1] = written("/v1/codes/123456789/valid", '{"code":"123456"}'),
   }
end

function request()
   turn = 1 - turn
   return requests[turn]
end
