/** Slack’s side of `bench:slack`, in a process of its own: signed events at a steady rate, whatever becomes of those before. Tells its parent how long each took. */
import http from 'node:http';
import { createHmac } from 'node:crypto';

interface Order {
  readonly url: string;
  readonly secret: string;
  readonly team: string;
  readonly channel: string;
  readonly user: string;
  readonly perSecond: number;
  readonly seconds: number;
}

export interface Sent {
  /** Milliseconds, of those that were acknowledged. */
  readonly delays: readonly number[];
  readonly refused: number;
}

const agent = new http.Agent({ keepAlive: true, maxSockets: 64 });
let count = 0;

process.on('disconnect', () => process.exit(0));
process.on('message', (order: Order) => void run(order).then((sent) => process.send?.(sent)));

async function run(order: Order): Promise<Sent> {
  const delays: number[] = [];
  let refused = 0;
  const answers: Promise<void>[] = [];
  const began = performance.now();
  for (let i = 0; i < order.perSecond * order.seconds; i++) {
    const due = began + (i * 1000) / order.perSecond;
    const early = due - performance.now();
    if (early > 1) await new Promise((resolve) => setTimeout(resolve, early));
    answers.push(
      // from when it was due: a sender that falls behind must not flatter
      send(order).then(
        (status) => void (status === 200 ? delays.push(performance.now() - due) : (refused += 1)),
        () => void (refused += 1),
      ),
    );
  }
  await Promise.all(answers);
  return { delays, refused };
}

/** Nine replies in threads of which nobody knows, and a reaction: what a busy workspace says all day. */
function event({ channel, user }: Order): object {
  const ts = `${1_700_000_000 + count}.000100`;
  if (count % 10 === 9) return { type: 'reaction_added', user, reaction: 'eyes', item: { type: 'message', channel, ts }, event_ts: ts };
  const thread_ts = `${1_700_000_000 + Math.floor(count / 10) * 10}.000100`;
  const text = 'The deployment of this morning is through, and the figures look as they should. '.repeat(4);
  return { type: 'message', channel, channel_type: 'channel', user, text, ts, thread_ts, event_ts: ts, client_msg_id: `m${count}` };
}

function send(order: Order): Promise<number> {
  count += 1;
  const envelope = {
    team_id: order.team,
    api_app_id: 'A1',
    type: 'event_callback',
    event_id: `Ev${process.pid}x${count}`,
    event: event(order),
  };
  const body = JSON.stringify({ ...envelope, authorizations: [{ team_id: order.team, is_bot: true }] });
  const timestamp = String(Math.floor(Date.now() / 1000));
  const signature = `v0=${createHmac('sha256', order.secret).update(`v0:${timestamp}:${body}`).digest('hex')}`;
  const headers = {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
    'x-slack-request-timestamp': timestamp,
    'x-slack-signature': signature,
  };
  return new Promise((resolve, reject) => {
    const request = http.request(order.url, { method: 'POST', headers, agent }, (response) => {
      response.resume();
      response.on('end', () => resolve(response.statusCode ?? 0));
    });
    request.on('error', reject);
    request.end(body);
  });
}
