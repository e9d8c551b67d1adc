/** The sign-in page: a form, and who is signed in. What it does is what `/auth` does. */
import { z } from 'zod';
import { UserError } from '../../users/index.ts';
import { readIncoming } from '../body.ts';
import { readReturnTo, requireOwnOrigin, sessionCookie } from '../credentials.ts';
import { ApiError } from '../errors.ts';
import { type Call, route } from '../route.ts';
import { type Services, usersOf } from '../services.ts';
import { messagePage, signedInPage, signInPage } from '../signin-page.ts';
import { cookieOf, endBefore, noCookie, sourceOf } from './auth.ts';

const FORM_MOST = 32 * 1024;

const FORM = z.object({
  action: z.enum(['sign-in', 'sign-out']),
  name: z.string().max(4000).default(''),
  password: z.string().max(4000).default(''),
  new_password: z.string().max(4000).optional(),
  return_to: z.string().optional(),
});

export const signInRoutes = [
  route({
    id: 'signInPage',
    method: 'GET',
    path: '/signin',
    group: 'Users',
    summary: 'The sign-in page; for whoever is signed in, who they are',
    access: 'public',
    raw: true,
    responses: { 200: { description: 'A page', contentType: 'text/html' } },
    errors: ['USERS_UNAVAILABLE'],
    async handle(call, services) {
      const { method } = call.request;
      if (method === 'GET' || method === 'HEAD') return show(call, services);
      if (method === 'POST') return submit(call, services);
      throw new ApiError('METHOD_NOT_ALLOWED', `${method} is not allowed here; use GET, HEAD, POST`, {
        headers: { allow: 'GET, HEAD, POST' },
      });
    },
  }),
];

async function show({ request }: Call, services: Services): Promise<Response> {
  const token = sessionCookie(request.headers, services.publicUrl());
  const user = token === undefined ? undefined : await usersOf(services).find(token);
  if (user !== undefined) return signedInPage(user);
  const returnTo = readReturnTo(new URL(request.url).searchParams.get('return_to'));
  return form(services, { status: 200, returnTo });
}

async function submit(call: Call, services: Services): Promise<Response> {
  const { request } = call;
  const users = usersOf(services);
  try {
    requireOwnOrigin(request, services.publicUrl());
  } catch {
    return messagePage({
      status: 403,
      title: 'Not signed in',
      text: 'This form was not sent from this server’s own page.',
      goOn: undefined,
    });
  }
  const fields = FORM.safeParse(await readForm(call));
  if (!fields.success) return form(services, { status: 422, returnTo: '/signin', problem: 'The form is not as this page makes it.' });
  const { action, name, password, new_password: newPassword, return_to } = fields.data;
  if (action === 'sign-out') {
    await endBefore(request, services);
    return seeOther('/signin', noCookie(services));
  }
  const returnTo = readReturnTo(return_to);
  try {
    const { token, user } = await users.signIn({ name, password, newPassword, kind: 'browser', source: sourceOf(call, services) });
    await endBefore(request, services);
    return seeOther(returnTo, cookieOf(token, user, services));
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    const choose = error.code === 'PASSWORD_CHANGE_REQUIRED' || newPassword !== undefined ? 'new' : 'old';
    return form(services, { status: error.httpStatus, returnTo, name, choose, problem: wordsOf(error), headers: error.headers });
  }
}

function wordsOf(error: UserError): string {
  if (error.code === 'PASSWORD_CHANGE_REQUIRED') return 'This password was made for you. Choose your own to go on.';
  const text = error.message.replace(/^new_password: /, 'New password: ');
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}

function form(
  { signIn }: Services,
  of: Pick<Parameters<typeof signInPage>[0], 'status' | 'returnTo'> & Partial<Parameters<typeof signInPage>[0]>,
): Response {
  return signInPage({ name: '', problem: undefined, choose: 'old', provider: signIn?.label, ...of });
}

/** Of two fields with one name, neither counts. */
async function readForm({ request, incoming }: Call): Promise<Readonly<Record<string, string>>> {
  if (!/^application\/x-www-form-urlencoded\s*(?:;|$)/i.test(request.headers.get('content-type') ?? '')) return {};
  const bytes = incoming === undefined ? new Uint8Array(await request.arrayBuffer()) : await readIncoming(incoming, FORM_MOST);
  if (bytes === undefined || bytes.length > FORM_MOST) {
    const headers = { connection: 'close' };
    throw new ApiError('TOO_LARGE', `the form is over the limit of ${FORM_MOST} bytes`, { headers });
  }
  const given = new URLSearchParams(new TextDecoder().decode(bytes));
  return Object.fromEntries([...given].filter(([name]) => given.getAll(name).length === 1));
}

function seeOther(location: string, cookie: string): Response {
  return new Response(null, {
    status: 303,
    headers: { location, 'set-cookie': cookie, 'cache-control': 'no-store', 'referrer-policy': 'no-referrer' },
  });
}
