# bunny (Ruby) against a broker: see checks.py for what the environment says.

require 'bunny'
require 'timeout'

URL = ENV.fetch('AMQP_URL', 'amqp://guest:guest@127.0.0.1:5672/').chomp('/')
RESTART = ENV.fetch('RESTART', nil)
RABBITMQCTL = ENV.fetch('RABBITMQCTL', nil)
CLIENT = "bunny #{Bunny::VERSION}".freeze
CHECKS = []

def check(requirement, needs: true, &block)
  CHECKS << [requirement, needs, block]
end

def eventually(seconds = 10)
  deadline = Time.now + seconds
  loop do
    got = yield
    return got if got
    raise "not within #{seconds} s" if Time.now > deadline

    sleep 0.02
  end
end

def same(got, want)
  raise "got #{got.inspect}, want #{want.inspect}" unless got == want
end

def refused(kind, text)
  yield
rescue kind => e
  raise "it says #{e.message}" unless e.message.include?(text)
else
  raise "nothing was raised, want #{kind}"
end

def session(**options)
  conn = Bunny.new(URL, log_level: :fatal, **options)
  conn.start
  yield conn
ensure
  conn&.close
end

def channel(&block)
  session { |conn| block.call(conn.create_channel) }
end

def fresh(channel, **options)
  channel.queue('', exclusive: true, **options)
end

def take(queue)
  eventually { (got = queue.pop)[2] && got }
end

check('the broker says who it is, and what it can') do
  session do |conn|
    same(conn.server_properties['product'], 'RabbitMQ')
    same(conn.server_capabilities['consumer_cancel_notify'], true)
  end
end

check('a wrong password is told as such') do
  refused(Bunny::AuthenticationFailureError, 'guest') { Bunny.new(URL.sub('guest:guest', 'guest:wrong'), log_level: :fatal).start }
end

check('what is not there is 404, what differs is 406, what is exclusive is 405') do
  channel { |ch| refused(Bunny::NotFound, "NOT_FOUND - no queue 'rb.none' in vhost '/'") { ch.queue('rb.none', passive: true) } }
  session do |conn|
    conn.create_channel.queue('rb.one', auto_delete: true)
    refused(Bunny::PreconditionFailed, "inequivalent arg 'durable'") { conn.create_channel.queue('rb.one', durable: true, auto_delete: true) }
    conn.create_channel.queue_delete('rb.one')
    queue = fresh(conn.create_channel)
    channel { |ch| refused(Bunny::ResourceLocked, 'cannot obtain exclusive access') { ch.queue(queue.name, passive: true) } }
  end
end

check('exchanges of every type') do
  channel do |ch|
    [[ch.direct('rb.direct', auto_delete: true), 'k', {}, 'k', {}], [ch.fanout('rb.fanout', auto_delete: true), '', {}, 'x', {}],
     [ch.topic('rb.topic', auto_delete: true), '#.z', {}, 'a.b.z', {}],
     [ch.headers('rb.headers', auto_delete: true), '', { 'x-match' => 'any', 'a' => 1 }, '', { 'a' => 1 }]].each do |x, key, arguments, sent, headers|
      queue = fresh(ch).bind(x, routing_key: key, arguments: arguments)
      x.publish(x.name, routing_key: sent, headers: headers)
      same(take(queue)[2], x.name)
      queue.unbind(x, routing_key: key, arguments: arguments)
    end
  end
end

check('exchanges bound to exchanges') do
  channel do |ch|
    source, target = ch.fanout('rb.source'), ch.fanout('rb.target')
    target.bind(source)
    queue = fresh(ch).bind(target)
    source.publish('x')
    same(take(queue)[2], 'x')
    target.unbind(source)
    [source, target].each(&:delete)
  end
end

check('every property, and headers of every type') do
  channel do |ch|
    queue = fresh(ch)
    now = Time.at(Time.now.to_i)
    headers = { 's' => 'text', 'i' => 7, 'n' => -7, 'b' => 1 << 60, 'f' => 2.5, 't' => true, 'none' => nil, 'at' => now, 'h' => { 'x' => ['y', 1] } }
    queue.publish('x', content_type: 't/x', content_encoding: 'e', headers: headers, persistent: true, priority: 3, correlation_id: 'c', reply_to: 'r',
                       expiration: '60000', message_id: 'm', timestamp: now.to_i, type: 'ty', user_id: 'guest', app_id: 'a')
    _, p, = take(queue)
    same(p.headers, headers)
    same([p.content_type, p.content_encoding, p.delivery_mode, p.priority, p.correlation_id, p.reply_to, p.expiration, p.message_id, p.timestamp, p.type,
          p.user_id, p.app_id], ['t/x', 'e', 2, 3, 'c', 'r', '60000', 'm', now, 'ty', 'guest', 'a'])
  end
end

check('confirms') do
  channel do |ch|
    ch.confirm_select
    queue = fresh(ch)
    200.times { |i| queue.publish(i.to_s) }
    same(ch.wait_for_confirms, true)
    same(queue.message_count, 200)
  end
end

check('confirms: what a full queue rejects is nacked') do
  channel do |ch|
    ch.confirm_select
    queue = fresh(ch, arguments: { 'x-max-length' => 1, 'x-overflow' => 'reject-publish' })
    2.times { queue.publish('x') }
    same(ch.wait_for_confirms, false)
    same(ch.nacked_set.size, 1)
  end
end

check('a mandatory message comes back') do
  channel do |ch|
    back = []
    x = ch.direct('amq.direct')
    x.on_return { |info, _, body| back << [info.reply_code, info.reply_text, body] }
    x.publish('x', routing_key: 'nowhere', mandatory: true)
    eventually { back.any? }
    same(back, [[312, 'NO_ROUTE', 'x']])
  end
end

check('subscribe: prefetch, ack, nack, reject, requeue') do
  channel do |ch|
    ch.prefetch(2)
    queue, got = fresh(ch), []
    queue.subscribe(manual_ack: true) { |info, _, body| got << [info.delivery_tag, info.redelivered?, body] }
    6.times { |i| queue.publish(i.to_s) }
    eventually { got.size == 2 }
    ch.nack(got[1][0], false, true)
    eventually { got.size == 3 }
    same(got[2][1..], [true, '1'])
    ch.ack(got[2][0], true)
    eventually { got.size == 5 }
    ch.reject(got[3][0])
    ch.nack(got[4][0])
    eventually { got.size == 7 }
    same(got.map(&:last), %w[0 1 1 2 3 4 5])
  end
end

check('a consumer hears that its queue is gone; cancels itself') do
  session do |conn|
    ch = conn.create_channel
    queue, heard = ch.queue('', auto_delete: true), []
    queue.subscribe(on_cancellation: ->(*) { heard << :gone }) { nil }
    consumer = fresh(ch).subscribe { nil }
    same(consumer.cancel.class, AMQ::Protocol::Basic::CancelOk)
    conn.create_channel.queue_delete(queue.name)
    eventually { heard == [:gone] }
  end
end

check('tx: committed and rolled back') do
  channel do |ch|
    queue = fresh(ch)
    ch.tx_select
    queue.publish('1')
    ch.tx_rollback
    queue.publish('2')
    ch.tx_commit
    same(take(queue)[2], '2')
    same(queue.pop[2], nil)
  end
end

check('TTL, dead letters and their reasons') do
  channel do |ch|
    dead = fresh(ch)
    letters = { 'x-dead-letter-exchange' => '', 'x-dead-letter-routing-key' => dead.name }
    fresh(ch, arguments: letters.merge('x-message-ttl' => 50)).publish('x')
    same(take(dead)[1].headers['x-death'][0]['reason'], 'expired')
    queue = fresh(ch, arguments: letters)
    queue.publish('x')
    info, = eventually { (got = queue.pop(manual_ack: true))[0] && got }
    ch.reject(info.delivery_tag)
    same(take(dead)[1].headers['x-first-death-reason'], 'rejected')
  end
end

check('priorities of messages and of consumers') do
  channel do |ch|
    ch.confirm_select
    queue = fresh(ch, arguments: { 'x-max-priority' => 5 })
    [0, 5, 3].each { |p| queue.publish(p.to_s, priority: p) }
    ch.wait_for_confirms
    same(Array.new(3) { take(queue)[2] }, %w[5 3 0])
    got = []
    queue.subscribe(arguments: { 'x-priority' => -1 }) { got << :low }
    queue.subscribe(arguments: { 'x-priority' => 1 }) { got << :high }
    queue.publish('x')
    eventually { got.any? }
    same(got, [:high])
  end
end

check('quorum queues are accepted, and count deliveries') do
  channel do |ch|
    queue = ch.queue('rb.quorum', durable: true, arguments: { 'x-queue-type' => 'quorum' })
    queue.publish('x', persistent: true)
    info, = eventually { (got = queue.pop(manual_ack: true))[0] && got }
    ch.nack(info.delivery_tag, false, true)
    _, p, = eventually { (got = queue.pop)[0] && got }
    same(p.headers['x-delivery-count'], 1)
    queue.delete
  end
end

check('direct reply-to') do
  channel do |ch|
    queue, got = fresh(ch), []
    ch.basic_consume('amq.rabbitmq.reply-to', '', true) { |_, p, body| got << [p.correlation_id, body] }
    queue.publish('ping', reply_to: 'amq.rabbitmq.reply-to', correlation_id: 'c')
    _, p, = take(queue)
    ch.default_exchange.publish('pong', routing_key: p.reply_to, correlation_id: p.correlation_id)
    eventually { got == [%w[c pong]] }
  end
end

check('a body of 10 MB') do
  channel do |ch|
    queue, body = fresh(ch), 'x' * 10_000_000
    queue.publish(body)
    same(take(queue)[2] == body, true)
  end
end

check('blocked and unblocked are heard', needs: RABBITMQCTL) do
  session do |conn|
    heard = []
    conn.on_blocked { |m| heard << m.reason }
    conn.on_unblocked { heard << :on }
    queue = fresh(conn.create_channel)
    system(RABBITMQCTL, '-q', 'set_vm_memory_high_watermark', '0.00000001', exception: true)
    begin
      queue.publish('x')
      eventually { heard.any? }
    ensure
      system(RABBITMQCTL, '-q', 'set_vm_memory_high_watermark', '0.6', exception: true)
    end
    eventually { heard.size == 2 }
    same(heard, ['low on memory', :on])
  end
end

check('after kill -9: bunny recovers its queues and consumers by itself', needs: RESTART) do
  session(network_recovery_interval: 0.2, recovery_attempts: 50) do |conn|
    ch, got = conn.create_channel, []
    exclusive = fresh(ch).bind('amq.topic', routing_key: 'rb.#')
    durable = ch.queue('rb.kept', durable: true)
    exclusive.subscribe { |_, _, body| got << body }
    ch.confirm_select
    durable.publish('kept', persistent: true)
    ch.wait_for_confirms
    system(RESTART, exception: true, out: File::NULL)
    eventually(20) { conn.open? && ch.open? }
    eventually(20) do
      channel { |other| other.topic('amq.topic', durable: true).publish('again', routing_key: 'rb.x') }
      sleep 0.1
      got.include?('again')
    end
    channel do |other|
      same(take(other.queue('rb.kept', durable: true))[2], 'kept')
      other.queue_delete('rb.kept')
    end
  end
end

passed = failed = 0
CHECKS.each do |requirement, needs, block|
  unless needs
    puts "left out  #{CLIENT}: #{requirement}"
    next
  end
  begin
    Timeout.timeout(40) { block.call }
    passed += 1
    puts "ok    #{CLIENT}: #{requirement}" if ENV['VERBOSE']
  rescue StandardError => e
    failed += 1
    puts "FAIL  #{CLIENT}: #{requirement}\n#{e.class}: #{e.message}\n#{e.backtrace.first(4).join("\n")}"
  end
end
puts "#{CLIENT}: #{passed} of #{passed + failed} checks passed"
exit(failed.zero? ? 0 : 1)
