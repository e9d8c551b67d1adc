import { method, secret, ToolFailure } from '@centaur/sdk';
import type { Locator, Page } from 'playwright-core';
import * as z from 'zod';
import { findElement, nameOf, ONE_TARGET, oneTarget, target, type Target } from './elements.ts';
import { failureOf } from './failures.ts';
import { hasPageBefore, runApart } from './apart.ts';
import { readHeight } from './in-page.ts';
import { formsOf, linksOf, nameOfPage, outlineOf, slice, textOf, urlOf, viewOf } from './page.ts';
import { endSession, inSession } from './sessions.ts';
import { HOSTS, hosts, SECRETS, typed } from './settings.ts';

/** Navigation and what follows it; the page is given up a little later. */
const OPEN_MS = 30_000;
const ACT_MS = 10_000;
const HUNG_MS = 45_000;
/** So that a page a kilometre long is a picture all the same. */
const PICTURE_HIGHEST = 10_000;
/** Of an element's picture, four bytes of memory each. */
const PIXELS_MOST = 1280 * PICTURE_HIGHEST;
const PICTURE_BYTES = 8 * 1024 * 1024;

export const methods = {
  open: method({
    description: 'Opens a page, and answers its outline: an element a line, with short names (ref) of what can be clicked and filled.',
    risk: 'write',
    input: z.strictObject({ url: z.string().min(1).max(8000).describe('https://… of a site that the operator has allowed') }),
    async run({ url }, ctx) {
      const address = webAddress(url);
      if (hosts.length === 0)
        throw new ToolFailure(
          'NO_HOSTS',
          `This browser opens no site yet. An operator names them by ${HOSTS} in tools.env of centaur.yaml, such as "example.com,*.example.com".`,
        );
      return inSession(ctx, 'begin', HUNG_MS, async (session) => {
        const response = await session.page.goto(address, { waitUntil: 'domcontentloaded', timeout: OPEN_MS }).catch((error: unknown) => {
          throw failureOf(error, address, session.events());
        });
        const code = response?.headers()['x-centaur-refused'];
        if (response !== null && code !== undefined)
          throw failureOf(new Error(await response.text()), response.url(), session.events(), code);
        return viewOf(session, response?.status());
      });
    },
  }),

  read: method({
    description: 'Reads the open page: its outline with refs, its text, its links, or its forms with their fields. Long ones in pieces.',
    risk: 'read',
    input: z.strictObject({
      format: z.enum(['outline', 'text', 'links', 'forms']).default('outline'),
      selector: z.string().min(1).max(1000).default('body').describe('Only this part, in CSS; not for the outline'),
      offset: z.int().min(0).default(0).describe('next_offset of the piece before'),
      limit: z.int().min(1).max(40_000).default(10_000).describe('Characters; of links and forms, items'),
    }),
    run: ({ format, selector, offset, limit }, ctx) =>
      inSession(ctx, 'resume', HUNG_MS, async ({ page }) => {
        const at = await nameOfPage(page);
        if (format === 'outline') return { ...at, ...slice(await outlineOf(page), offset, limit) };
        if (format === 'text') return { ...at, ...slice(await textOf(page, selector), offset, limit) };
        const items = format === 'links' ? await linksOf(page, selector) : await formsOf(page, selector);
        const end = offset + Math.min(limit, 200);
        return { ...at, items: items.slice(offset, end), ...(end < items.length ? { next_offset: end, items_in_all: items.length } : {}) };
      }),
  }),

  click: method({
    description: 'Clicks an element, and answers the outline of what the page is then.',
    risk: 'write',
    input: z.strictObject({ ...target, double: z.boolean().default(false) }).refine(oneTarget, ONE_TARGET),
    run: ({ double, ...wanted }, ctx) =>
      inSession(ctx, 'resume', HUNG_MS, async (session) => {
        const element = await findElement(session.page, wanted, 'click');
        await act(wanted, () => (double ? element.dblclick({ timeout: ACT_MS }) : element.click({ timeout: ACT_MS })));
        return settled(session);
      }),
  }),

  fill: method({
    description:
      'Fills fields of the page: text, choices of lists, boxes to tick. A password that the operator keeps for the site is filled by its name.',
    risk: 'write',
    input: z.strictObject({
      fields: z
        .array(
          z
            .strictObject({
              ...target,
              value: z.string().max(100_000).optional().describe('Text; of a list, the option’s label or value'),
              values: z.array(z.string().max(1000)).max(100).optional().describe('Of a list that takes several'),
              checked: z.boolean().optional().describe('Of a box'),
              secret: z
                .string()
                .regex(/^[A-Z_][A-Z0-9_]*$/)
                .optional()
                .describe('Name of a secret of this site'),
            })
            .refine(oneTarget, ONE_TARGET)
            .refine(
              ({ value, values, checked, secret }) => [value, values, checked, secret].filter((each) => each !== undefined).length === 1,
              { path: ['value'], message: 'say one of value, values, checked and secret' },
            ),
        )
        .min(1)
        .max(50),
      submit: z.boolean().default(false).describe('Presses Enter in the last field'),
    }),
    run: ({ fields, submit }, ctx) =>
      inSession(ctx, 'resume', HUNG_MS, async (session) => {
        const { page } = session;
        for (const { value, values, checked, secret: name, ...wanted } of fields) {
          // half a form, rather than one that is sent when nobody waits for it
          ctx.signal.throwIfAborted();
          const element = await findElement(page, wanted, 'fill');
          const text = name === undefined ? value : await act(wanted, () => placeholderFor(name, element, wanted));
          await act(wanted, () => fillOne(element, text, values, checked));
          if (
            submit &&
            fields.at(-1)?.ref === wanted.ref &&
            fields.at(-1)?.selector === wanted.selector &&
            fields.at(-1)?.text === wanted.text
          )
            await act(wanted, () => element.press('Enter', { timeout: ACT_MS }));
        }
        return settled(session);
      }),
  }),

  press: method({
    description: 'Presses a key, such as Enter, Escape, PageDown or Control+A, in an element or wherever the focus is.',
    risk: 'write',
    input: z
      .strictObject({ ...target, key: z.string().regex(/^(?:(?:Shift|Control|Alt|Meta)\+){0,3}(?:[A-Z][A-Za-z0-9]{1,20}|.)$/u) })
      .refine(({ ref, selector, text }) => oneTarget({ ref, selector, text }) || (ref ?? selector ?? text) === undefined, ONE_TARGET),
    run({ key, ...wanted }, ctx) {
      if (pastes(key))
        throw new ToolFailure('NO_CLIPBOARD', `${key} pastes, and the clipboard is not of one caller: use "fill" with the text.`);
      return inSession(ctx, 'resume', HUNG_MS, async (session) => {
        const { page } = session;
        if (Object.values(wanted).every((each) => each === undefined)) await act({ text: key }, () => page.keyboard.press(key));
        else {
          const element = await findElement(page, wanted, 'fill');
          await act(wanted, () => element.press(key, { timeout: ACT_MS }));
        }
        return settled(session);
      });
    },
  }),

  screenshot: method({
    description: 'Takes a picture of the page, or of one element, as a file of the conversation.',
    risk: 'read',
    input: z
      .strictObject({ ...target, full_page: z.boolean().default(false).describe(`All of it, up to ${PICTURE_HIGHEST} pixels high`) })
      .refine(({ ref, selector, text }) => oneTarget({ ref, selector, text }) || (ref ?? selector ?? text) === undefined, ONE_TARGET),
    async run({ full_page: full, ...wanted }, ctx) {
      const { url, name, type, data } = await inSession(ctx, 'resume', HUNG_MS, async ({ page }) => {
        const element = Object.values(wanted).every((each) => each === undefined) ? undefined : await findElement(page, wanted, 'click');
        const picture = await act(wanted, () => takePicture(page, element, full));
        return { ...picture, url: urlOf(page), name: new URL(page.url()).hostname || 'page' };
      });
      const file = await ctx.attach({ name: `${name}.${type}`, mimeType: `image/${type}`, data });
      return { url, ...file };
    },
  }),

  back: method({
    description: 'Goes back to the page before.',
    risk: 'write',
    input: z.strictObject({}),
    run: (_, ctx) =>
      inSession(ctx, 'resume', HUNG_MS, async (session) => {
        const { page } = session;
        const before = page.url();
        if (!(await hasPageBefore(page))) throw new ToolFailure('NO_PAGE_BEFORE', 'There is no page before this one.');
        await page.goBack({ waitUntil: 'domcontentloaded', timeout: OPEN_MS }).catch((error: unknown) => {
          throw failureOf(error, before, session.events());
        });
        return viewOf(session);
      }),
  }),

  close: method({
    description: 'Closes the pages and forgets their cookies. A browser that is not used for ten minutes is closed anyway.',
    risk: 'write',
    idempotent: true,
    input: z.strictObject({}),
    run: async (_, ctx) => ({ closed: await endSession(ctx) }),
  }),
};

type Sessions = Parameters<Parameters<typeof inSession>[3]>[0];

/** @throws ToolFailure BAD_URL for what is no page of the web */
function webAddress(url: string): string {
  const text = /^[a-z][a-z0-9+.-]*:/i.test(url) ? url : `https://${url}`;
  if (!URL.canParse(text))
    throw new ToolFailure('BAD_URL', `${JSON.stringify(url.slice(0, 200))} is no address. Give one such as https://example.com/page.`);
  const { protocol, username, password, href } = new URL(text);
  if (protocol !== 'https:' && protocol !== 'http:')
    throw new ToolFailure('BAD_URL', `${protocol} addresses are not opened, only https: and http:.`);
  if (username !== '' || password !== '') throw new ToolFailure('BAD_URL', 'An address with a user and password in it is not opened.');
  return href;
}

/**
 * What stands for the secret: the firewall exchanges it on the way to the site, and the page never has more than this. It goes into no
 * field that shows or keeps what is in it.
 */
async function placeholderFor(name: string, element: Locator, wanted: Target): Promise<string> {
  const at = typed.get(name)?.hosts;
  if (at === undefined) {
    const known = [...typed.keys()].join(', ');
    throw new ToolFailure(
      'NO_SECRET',
      `There is no secret ${name} for this browser${known === '' ? '' : `; there are ${known}`}. An operator names it and its site by ${SECRETS} in tools.env of centaur.yaml.`,
    );
  }
  // the page of a frame may be another site's
  const frame = await (await element.elementHandle({ timeout: ACT_MS }))?.ownerFrame();
  const { host, hostname } = new URL(frame?.url() ?? 'about:blank');
  if (!at.includes(host) && !at.includes(hostname))
    throw new ToolFailure(
      'WRONG_SITE',
      `${name} is for ${at.join(', ')}, and the open page is of ${host}. Open the site's own page first.`,
    );
  if ((await element.and(element.page().locator('css=input[type=password]')).count()) !== 1)
    throw new ToolFailure('NOT_A_PASSWORD', `The ${nameOf(wanted)} is no field for a password, and ${name} is typed into nothing else.`);
  if ((process.env[name] ?? '') === '')
    throw new ToolFailure(
      'NO_SECRET',
      `${name} is not in the vault yet. An operator puts it there with: centaur secrets set ${name} --for browser`,
    );
  return secret(name);
}

/** All callers have one clipboard: what one page had copied, another would get. */
function pastes(keys: string): boolean {
  const parts = keys.split('+');
  const key = parts.pop()?.toLowerCase() ?? '';
  if (key === 'v' || key === 'keyv') return parts.includes('Control') || parts.includes('Meta');
  if (key === 'insert' || key === 'numpad0') return parts.includes('Shift');
  return key === 'paste';
}

async function fillOne(
  element: Locator,
  text: string | undefined,
  values: readonly string[] | undefined,
  checked: boolean | undefined,
): Promise<void> {
  const timeout = ACT_MS;
  if (checked !== undefined) return element.setChecked(checked, { timeout });
  const isList = (await element.evaluate((each: { readonly localName: string }) => each.localName, undefined, { timeout })) === 'select';
  if (isList) await element.selectOption([...(values ?? [text ?? ''])], { timeout });
  else await element.fill(values?.join('\n') ?? text ?? '', { timeout });
}

async function act<T>(wanted: Target, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof ToolFailure) throw error;
    throw failureOf(error, nameOf(wanted));
  }
}

/** After something was done: a navigation that it set off has begun by then, and is waited for. */
async function settled(session: Sessions): Promise<Record<string, unknown>> {
  await session.page.waitForTimeout(150);
  await session.page.waitForLoadState('domcontentloaded', { timeout: OPEN_MS }).catch(() => undefined);
  return viewOf(session);
}

async function takePicture(page: Page, element: Locator | undefined, full: boolean) {
  const options = { timeout: OPEN_MS, animations: 'disabled', caret: 'hide', scale: 'css' } as const;
  const take = async (type: 'png' | 'jpeg', quality?: number): Promise<Buffer> => {
    const how = { ...options, type, ...(quality === undefined ? {} : { quality }) };
    if (element !== undefined) return element.screenshot(how);
    if (!full) return page.screenshot(how);
    const height = await runApart(page, readHeight);
    const { width } = page.viewportSize() ?? { width: 1280 };
    return page.screenshot({
      ...how,
      fullPage: true,
      clip: { x: 0, y: 0, width, height: Math.min(height, PICTURE_HIGHEST) },
    });
  };
  const box = await element?.boundingBox({ timeout: ACT_MS });
  if (box && !(box.height <= PICTURE_HIGHEST && box.width * box.height <= PIXELS_MOST))
    throw new ToolFailure(
      'TOO_LARGE',
      `It is ${Math.round(box.width)} by ${Math.round(box.height)} pixels, and the most is ${PICTURE_HIGHEST} high and ${PIXELS_MOST} in all. Take a picture of the page, or of a part of it.`,
    );
  const png = await take('png');
  if (png.length <= PICTURE_BYTES) return { type: 'png', data: png };
  return { type: 'jpeg', data: await take('jpeg', 60) };
}
