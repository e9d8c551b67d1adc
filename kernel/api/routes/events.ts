/** Events to runs, and the stream of events from a run. */
import { EmitBody, EmittedEventSchema, EventQuery, RunEventSchema, RunPath } from '../schemas.ts';
import { route } from '../route.ts';
import { authoriseRead, reachesAllWorkflows } from '../scopes.ts';
import { eventStream, STREAM_HEADERS } from '../stream.ts';

export const eventRoutes = [
  route({
    id: 'tailRun',
    method: 'GET',
    path: '/workflows/runs/{run_id}/events',
    group: 'Runs',
    summary: 'Follow a run as server-sent events',
    description:
      'What happened so far, then what happens, until the run’s last event. `id` is the event’s id, `event` its kind and `data` one JSON object. ' +
      'A reader that lost its connection sends the last id it saw, in `Last-Event-ID` or `after_event_id`, and gets exactly what followed. ' +
      '`run.status` events have no id: they tell what the run is doing and are not repeated. A comment every 15 s keeps the line open.',
    access: { scope: 'workflows.read', perWorkflow: true },
    params: RunPath,
    query: EventQuery,
    responses: { 200: { description: 'The stream; each event is one of these', schema: RunEventSchema, contentType: 'text/event-stream' } },
    errors: ['RUN_NOT_FOUND'],
    async handle({ params, query, caller, request }, services) {
      const { engine, keys } = services;
      const isHead = request.method === 'HEAD';
      if (isHead || !reachesAllWorkflows(caller, 'read')) authoriseRead(caller, (await engine.getRun(params.run_id)).workflow_name);
      if (isHead) return new Response(null, { headers: STREAM_HEADERS });
      const afterId = query.after_event_id ?? request.headers.get('last-event-id') ?? undefined;
      return eventStream({
        open: (signal) => engine.tailRun(params.run_id, { afterId, signal }),
        client: request.signal,
        server: services.closing,
        isAllowed: () => keys.isActive(caller),
        onChange: (open) => services.metrics.streams(open),
        log: services.log,
      });
    },
  }),
  route({
    id: 'emitEvent',
    method: 'POST',
    path: '/workflows/events',
    group: 'Events',
    summary: 'Send an event to whichever run waits, or will wait, for it',
    description:
      'Answers when the event is stored. One that is sent before the wait still counts; each wait takes one event. The same `event_key` of a type ' +
      'answers 200 with the first event, and 409 when the correlation id or the payload is another.',
    access: { scope: 'events.emit' },
    body: EmitBody,
    example: { event_type: 'expense_decided', correlation_id: 'E-42', payload: { approved: true }, event_key: 'E-42-decided' },
    responses: {
      202: { description: 'Stored', schema: EmittedEventSchema },
      200: { description: 'The event key was known: the first event', schema: EmittedEventSchema },
    },
    errors: ['NOT_JSON', 'EVENT_KEY_MISMATCH'],
    attribute: ({ body }) => ({
      action: 'event.emit',
      resource: `event:${body.event_type}`,
      details: { correlation_id: body.correlation_id },
    }),
    async handle({ body }, { engine }) {
      const emitted = await engine.emitEvent(body);
      return { status: emitted.idempotent ? 200 : 202, body: emitted };
    },
  }),
];
