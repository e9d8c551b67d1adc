import { createHash } from 'node:crypto';
import { method, type ToolContext, ToolFailure } from '@centaur/sdk';
import * as z from 'zod';
import { at } from '../_shared/rest.ts';
import { compact, cut } from '../_shared/results.ts';
import { get, nextPage, page_token, send } from './api.ts';

interface RawTime {
  readonly dateTime?: string;
  readonly date?: string;
  readonly timeZone?: string;
}

interface RawGuest {
  readonly email?: string;
  readonly displayName?: string;
  readonly responseStatus?: string;
  readonly optional?: boolean;
}

interface RawEvent {
  readonly id: string;
  readonly etag?: string;
  readonly status?: string;
  readonly summary?: string;
  readonly description?: string;
  readonly location?: string;
  readonly start?: RawTime;
  readonly end?: RawTime;
  readonly attendees?: readonly RawGuest[];
  readonly organizer?: { readonly email?: string };
  readonly recurrence?: readonly string[];
  readonly recurringEventId?: string;
  readonly hangoutLink?: string;
  readonly htmlLink?: string;
}

interface RawCalendar {
  readonly id: string;
  readonly summary?: string;
  readonly primary?: boolean;
  readonly accessRole?: string;
  readonly timeZone?: string;
}

const calendar = z.string().min(1).max(256).default('primary').describe('Id of the calendar; list_calendars tells it');
const event = z.string().min(1).max(1024).describe('Id of the event');
const moment = z.iso.datetime({ offset: true }).describe('With its offset: `2026-11-22T09:30:00+01:00`');
const when = z
  .union([moment, z.iso.date()])
  .describe('`2026-11-22T09:30:00+01:00`; or a date, `2026-11-22`, for a whole day: then the end is the day after the last');
const time_zone = z.string().min(1).optional().describe('IANA name, for an event that repeats: `Europe/Berlin`');
const fields = {
  summary: z.string().min(1).max(1000),
  description: z.string().max(8000),
  location: z.string().max(1000),
  start: when,
  end: when,
  time_zone,
  recurrence: z
    .array(z.string().regex(/^(?:RRULE|EXRULE|RDATE|EXDATE)[:;]/))
    .max(10)
    .describe('`RRULE:FREQ=WEEKLY;COUNT=4`'),
};

export const calendarMethods = {
  list_calendars: method({
    description: 'The calendars of the account.',
    risk: 'read',
    input: z.strictObject({ page_token }),
    async run({ page_token: pageToken }, ctx) {
      const raw = await get<{ readonly items?: readonly RawCalendar[]; readonly nextPageToken?: string }>(
        ctx,
        '/calendar/v3/users/me/calendarList',
        { pageToken },
      );
      const items = (raw.items ?? []).map(({ id, summary, primary, accessRole: access, timeZone }) =>
        compact({ id, summary, primary: primary === true ? true : undefined, access, time_zone: timeZone }),
      );
      return { items, ...nextPage(raw) };
    },
  }),

  list_events: method({
    description: 'Events of a calendar in a span of time, in their order; each date of one that repeats by itself.',
    risk: 'read',
    input: z.strictObject({
      calendar,
      from: moment.optional().describe('Default: now'),
      to: moment.optional(),
      text: z.string().optional().describe('Only events with these words'),
      limit: z.int().min(1).max(250).default(50),
      page_token,
    }),
    async run({ calendar, from, to, text, limit, page_token: pageToken }, ctx) {
      const raw = await get<{ readonly items?: readonly RawEvent[]; readonly nextPageToken?: string }>(
        ctx,
        at`/calendar/v3/calendars/${calendar}/events`,
        {
          timeMin: from ?? new Date().toISOString(),
          timeMax: to,
          q: text,
          maxResults: limit,
          pageToken,
          singleEvents: true,
          orderBy: 'startTime',
        },
      );
      return { items: (raw.items ?? []).map(toEvent), ...nextPage(raw) };
    },
  }),

  get_event: method({
    description: 'One event, with its guests and what they answered.',
    risk: 'read',
    input: z.strictObject({ calendar, event }),
    run: async ({ calendar, event }, ctx) => toEvent(await get<RawEvent>(ctx, at`/calendar/v3/calendars/${calendar}/events/${event}`)),
  }),

  get_free_busy: method({
    description: 'When calendars of people and rooms are taken, in a span of time.',
    risk: 'read',
    input: z.strictObject({
      calendars: z.array(z.string().min(1)).min(1).max(50).describe('Ids: addresses of people and rooms, or primary'),
      from: moment,
      to: moment,
    }),
    async run({ calendars, from, to }, ctx) {
      const { data } = await send<{ readonly calendars?: Readonly<Record<string, RawBusy>> }>(ctx, {
        method: 'POST',
        path: '/calendar/v3/freeBusy',
        json: { timeMin: from, timeMax: to, items: calendars.map((id) => ({ id })) },
        repeatable: true,
      });
      const items = calendars.map((id) => {
        const { busy, errors } = data.calendars?.[id] ?? { errors: [{ reason: 'notFound' }] };
        return compact({ calendar: id, busy, error: errors?.[0]?.reason });
      });
      return { items };
    },
  }),

  create_event: method({
    description: 'Puts an event into a calendar, without guests: invite_guests asks them.',
    risk: 'write',
    idempotent: true,
    input: z.strictObject({
      calendar,
      summary: fields.summary,
      start: fields.start,
      end: fields.end,
      description: fields.description.optional(),
      location: fields.location.optional(),
      recurrence: fields.recurrence.optional(),
      time_zone,
    }),
    async run({ calendar, ...given }, ctx) {
      // an id of ours, so that the same call does not make a second one
      const id = createHash('sha256')
        .update(JSON.stringify([ctx.idempotencyKey, calendar, given]))
        .digest('hex')
        .slice(0, 40);
      try {
        const path = at`/calendar/v3/calendars/${calendar}/events`;
        const { data } = await send<RawEvent>(ctx, { method: 'POST', path, json: { id, ...toRaw(given) }, repeatable: true });
        return toEvent(data);
      } catch (error) {
        if (!(error instanceof ToolFailure && error.code === 'CONFLICT')) throw error;
        return toEvent(await get<RawEvent>(ctx, at`/calendar/v3/calendars/${calendar}/events/${id}`));
      }
    },
  }),

  update_event: method({
    description: 'Changes an event. What is left out stays. Guests are not written to, but see it in their calendars.',
    risk: 'write',
    idempotent: true,
    input: z
      .strictObject({ calendar, event, ...z.object(fields).partial().shape })
      .refine(({ start, end }) => (start === undefined) === (end === undefined), 'give start and end, or neither'),
    run: async ({ calendar, event, ...given }, ctx) => toEvent(await change(ctx, calendar, event, toRaw(given, true), 'none')),
  }),

  invite_guests: method({
    description: 'Adds guests to an event. They get it into their calendars, and a mail from Google unless told otherwise.',
    risk: 'customer_facing',
    // who is a guest is not asked again, and of two calls at a time the later one reads what the earlier one did
    idempotent: true,
    input: z.strictObject({ calendar, event, guests: z.array(z.email()).min(1).max(100), send_mail: z.boolean().default(true) }),
    async run({ calendar, event, guests, send_mail: mails }, ctx) {
      const path = at`/calendar/v3/calendars/${calendar}/events/${event}`;
      for (let tries = 1; ; tries += 1) {
        const now = await get<RawEvent>(ctx, path);
        const { attendees = [], etag } = now;
        const known = new Set(attendees.map(({ email }) => email?.toLowerCase()));
        const wanted = new Map(guests.map((guest) => [guest.toLowerCase(), guest]));
        const added = [...wanted].filter(([guest]) => !known.has(guest)).map(([, email]) => ({ email }));
        // asked again, Google would write to all of them again
        if (added.length === 0) return toEvent(now);
        const json = { attendees: [...attendees, ...added] };
        try {
          return toEvent(await change(ctx, calendar, event, json, mails ? 'all' : 'none', etag));
        } catch (error) {
          // somebody has changed it since it was read
          if (!(error instanceof ToolFailure && error.code === 'PRECONDITION_FAILED' && tries < TRIES)) throw error;
        }
      }
    },
  }),

  delete_event: method({
    description: 'Takes an event out of a calendar, for its guests, too. They are not written to.',
    risk: 'destructive',
    idempotent: true,
    input: z.strictObject({ calendar, event }),
    async run({ calendar, event }, ctx) {
      try {
        await send(ctx, { method: 'DELETE', path: at`/calendar/v3/calendars/${calendar}/events/${event}`, query: { sendUpdates: 'none' } });
      } catch (error) {
        // deleted before
        if (!(error instanceof ToolFailure && error.code === 'GONE')) throw error;
      }
      return { event, deleted: true };
    },
  }),
};

interface RawBusy {
  readonly busy?: readonly { readonly start: string; readonly end: string }[];
  readonly errors?: readonly { readonly reason: string }[];
}

/** Of an event that others change at the same time. */
const TRIES = 4;

/** @param etag of what was read: then it changes nothing else than that, and sent twice it does no more than once */
async function change(
  ctx: ToolContext,
  calendar: string,
  event: string,
  json: unknown,
  sendUpdates: 'all' | 'none',
  etag?: string,
): Promise<RawEvent> {
  const path = at`/calendar/v3/calendars/${calendar}/events/${event}`;
  const repeatable = sendUpdates === 'none' || etag !== undefined;
  const headers = etag === undefined ? {} : { 'if-match': etag };
  return (await send<RawEvent>(ctx, { method: 'PATCH', path, query: { sendUpdates }, json, headers, repeatable })).data;
}

interface Given {
  readonly start?: string | undefined;
  readonly end?: string | undefined;
  readonly time_zone?: string | undefined;
}

function toRaw(
  { start, end, time_zone: timeZone, ...rest }: Given & Readonly<Record<string, unknown>>,
  isChange = false,
): Readonly<Record<string, unknown>> {
  const clear = (field: string) => (isChange ? { [field]: null } : {});
  const time = (value: string): object =>
    // null takes away what an event for whole days, or for hours, had
    value.includes('T')
      ? { dateTime: value, ...clear('date'), ...(timeZone === undefined ? {} : { timeZone }) }
      : { date: value, ...clear('dateTime') };
  return { ...rest, ...(start === undefined ? {} : { start: time(start) }), ...(end === undefined ? {} : { end: time(end) }) };
}

function toEvent(raw: RawEvent): Record<string, unknown> {
  return compact({
    id: raw.id,
    status: raw.status === 'confirmed' ? undefined : raw.status,
    summary: raw.summary,
    description: cut(raw.description ?? '', 8000),
    location: raw.location,
    start: raw.start?.dateTime ?? raw.start?.date,
    end: raw.end?.dateTime ?? raw.end?.date,
    organizer: raw.organizer?.email,
    guests: raw.attendees?.length
      ? raw.attendees.map(({ email, displayName: name, responseStatus: answer, optional }) =>
          compact({ email, name, answer, optional: optional === true ? true : undefined }),
        )
      : undefined,
    recurrence: raw.recurrence,
    repeats: raw.recurringEventId,
    video_url: raw.hangoutLink,
    url: raw.htmlLink,
  });
}
