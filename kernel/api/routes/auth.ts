/** Signing in and out. */
import { SignInError } from '../../oidc/index.ts';
import type { SessionUser } from '../../users/index.ts';
import { makeCookie, readCookie, readReturnTo, refuseOtherOrigins, sessionCookie } from '../credentials.ts';
import { ApiError, refusal } from '../errors.ts';
import { type Call, ok, route } from '../route.ts';
import { SCOPES_OF_ROLE } from '../scopes.ts';
import { type Services, usersOf } from '../services.ts';
import { messagePage } from '../signin-page.ts';
import {
  BegunSessionSchema,
  OidcCallbackQuery,
  OidcStartQuery,
  PasswordBody,
  PollBody,
  PolledSchema,
  ProveBody,
  SessionSchema,
  SignedOutSchema,
  StartedDeviceSchema,
} from '../user-schemas.ts';

const PASSWORD_ERRORS = [
  'SIGN_IN_REFUSED',
  'PASSWORD_CHANGE_REQUIRED',
  'TOO_MANY_TRIES',
  'SIGN_IN_BUSY',
  'INVALID_USER',
  'USERS_UNAVAILABLE',
];
const PROVIDER_ERRORS = ['NO_PROVIDER', 'PROVIDER_ANSWER', 'TOO_MANY_TRIES', 'USERS_UNAVAILABLE'];

/** A browser has ten minutes to come back from the provider. */
const BINDING_SECONDS = 600;

export const authRoutes = [
  route({
    id: 'signInWithPassword',
    method: 'POST',
    path: '/auth/password',
    group: 'Users',
    summary: 'Sign in with a password, and begin a session',
    description:
      'A temporary password only serves to choose another: send `new_password` too. Tries are counted for the name and the address; a wrong name costs as much as a wrong password, and is answered alike.',
    access: 'public',
    body: PasswordBody,
    example: { name: 'ann', password: 'correct horse battery staple' },
    responses: { 200: { description: 'The session', schema: BegunSessionSchema } },
    errors: [...PASSWORD_ERRORS, 'CROSS_ORIGIN'],
    async handle(call, services) {
      const { name, password, new_password: newPassword, kind = 'cli' } = call.body;
      refuseOtherOrigins(call.request, services.publicUrl());
      const users = usersOf(services);
      const { token, user } = await users.signIn({ name, password, newPassword, kind, source: sourceOf(call, services) });
      if (kind === 'cli') return ok({ token, session: viewOf(user) });
      await endBefore(call.request, services);
      return { status: 200, body: { token: null, session: viewOf(user) }, headers: { 'set-cookie': cookieOf(token, user, services) } };
    },
  }),
  route({
    id: 'getSession',
    method: 'GET',
    path: '/auth/session',
    group: 'Users',
    summary: 'Read whose session this is',
    access: 'person',
    responses: { 200: { description: 'The session', schema: SessionSchema } },
    handle: ({ caller }) => ok(viewOf(personOf(caller))),
  }),
  route({
    id: 'signOut',
    method: 'DELETE',
    path: '/auth/session',
    group: 'Users',
    summary: 'End this session',
    access: 'person',
    responses: { 200: { description: 'It has ended', schema: SignedOutSchema } },
    errors: ['CROSS_ORIGIN'],
    async handle({ caller }, services) {
      await usersOf(services).signOut(personOf(caller));
      return { status: 200, body: { signed_out: true }, headers: { 'set-cookie': noCookie(services) } };
    },
  }),
  route({
    id: 'prove',
    method: 'POST',
    path: '/auth/prove',
    group: 'Users',
    summary: 'Prove again who is at the keyboard, by the password',
    description: 'For what asks for a recent proof. Who has no password begins another session by the provider, with `again=1`.',
    access: 'person',
    body: ProveBody,
    example: { password: 'correct horse battery staple' },
    responses: { 200: { description: 'The session', schema: SessionSchema } },
    errors: [...PASSWORD_ERRORS, 'CROSS_ORIGIN'],
    async handle(call, services) {
      const user = await usersOf(services).prove(personOf(call.caller), call.body.password, sourceOf(call, services));
      return ok(viewOf(user));
    },
  }),
  route({
    id: 'startOidc',
    method: 'GET',
    path: '/auth/oidc/start',
    group: 'Users',
    summary: 'Send a browser to the provider, to sign in there',
    access: 'public',
    query: OidcStartQuery,
    responses: { 303: { description: 'To the provider', contentType: 'text/html' } },
    errors: PROVIDER_ERRORS,
    async handle(call, services) {
      // programs that look at an address before a person does begin nothing
      if (call.request.method !== 'GET') return new Response(null, { status: 405, headers: { allow: 'GET' } });
      const { location, browser } = await signInOf(services).startCode({
        returnTo: readReturnTo(call.query.return_to),
        proof: call.query.again === '1' ? 'fresh' : 'any',
        source: sourceOf(call, services),
      });
      return new Response(null, {
        status: 303,
        headers: {
          location,
          'set-cookie': bindingCookie(browser, services),
          'cache-control': 'no-store',
          'referrer-policy': 'no-referrer',
        },
      });
    },
  }),
  route({
    id: 'oidcCallback',
    method: 'GET',
    path: '/auth/callback',
    group: 'Users',
    summary: 'Where the provider sends browsers back to; a sign-in counts once, and in the browser that began it',
    access: 'public',
    query: OidcCallbackQuery,
    responses: {
      200: { description: 'A page that goes on to where the person wanted to be', contentType: 'text/html' },
      400: { description: 'A page that says that they are not signed in', contentType: 'text/html' },
    },
    errors: PROVIDER_ERRORS,
    async handle(call, services) {
      const { request } = call;
      if (request.method !== 'GET') return new Response(null, { status: 405, headers: { allow: 'GET' } });
      const signIn = signInOf(services);
      const publicUrl = services.publicUrl();
      try {
        const { begun, returnTo } = await signIn.finishCode({
          query: new URL(request.url).searchParams,
          browser: readCookie(request.headers, 'centaur-signin', publicUrl),
          source: sourceOf(call, services),
        });
        await endBefore(request, services);
        // a page in between: a redirect would still count as the provider's, and the browser would keep the new cookie to itself
        return messagePage({
          status: 200,
          title: 'Signed in',
          text: 'You are signed in.',
          goOn: { to: returnTo, label: 'Go on' },
          cookies: [cookieOf(begun.token, begun.user, services), bindingCookie('', services)],
        });
      } catch (error) {
        const { body } = refusal(error, services.log, { route: 'oidcCallback' });
        return messagePage({ status: 400, title: 'Not signed in', text: (body as { readonly message: string }).message, goOn: undefined });
      }
    },
  }),
  route({
    id: 'startDeviceSignIn',
    method: 'POST',
    path: '/auth/device/start',
    group: 'Users',
    summary: 'Begin to sign in by a code that is typed at the provider (RFC 8628)',
    access: 'public',
    responses: { 200: { description: 'What a person is to do', schema: StartedDeviceSchema } },
    errors: [...PROVIDER_ERRORS, 'CROSS_ORIGIN'],
    async handle(call, services) {
      refuseOtherOrigins(call.request, services.publicUrl());
      const started = await signInOf(services).startDevice(sourceOf(call, services));
      return ok({
        handle: started.handle,
        user_code: started.userCode,
        verification_uri: started.verificationUri,
        verification_uri_complete: started.verificationUriComplete,
        expires_in: started.expiresIn,
        interval: started.interval,
      });
    },
  }),
  route({
    id: 'pollDeviceSignIn',
    method: 'POST',
    path: '/auth/device/poll',
    group: 'Users',
    summary: 'Ask whether the code has been typed; the session is answered once',
    access: 'public',
    body: PollBody,
    example: { handle: 'mF_9.B5f-4.1JqM-of-the-answer-of-start-0123' },
    responses: { 200: { description: 'The session, or not yet', schema: PolledSchema } },
    errors: [...PROVIDER_ERRORS, 'SIGN_IN_UNKNOWN', 'SIGN_IN_DENIED', 'SIGN_IN_REFUSED', 'CROSS_ORIGIN'],
    async handle(call, services) {
      refuseOtherOrigins(call.request, services.publicUrl());
      const polled = await signInOf(services).pollDevice(call.body.handle, sourceOf(call, services));
      if (polled.status === 'pending') return ok({ status: 'pending', interval: polled.interval, token: null, session: null });
      return ok({ status: 'done', interval: null, token: polled.begun.token, session: viewOf(polled.begun.user) });
    },
  }),
];

export function sourceOf({ request, incoming }: Pick<Call, 'request' | 'incoming'>, services: Services) {
  return services.sourceOf(request, incoming?.socket.remoteAddress);
}

/** A browser that signs in anew has done with the session before. */
export async function endBefore(request: Request, services: Services): Promise<void> {
  const before = sessionCookie(request.headers, services.publicUrl());
  const user = before === undefined ? undefined : await usersOf(services).find(before);
  if (user !== undefined) await usersOf(services).signOut(user);
}

export function cookieOf(token: string, user: SessionUser, services: Services): string {
  return makeCookie('centaur', token, {
    publicUrl: services.publicUrl(),
    seconds: (user.expiresAt - Date.now()) / 1000,
    sameSite: 'Strict',
  });
}

export const noCookie = (services: Services): string =>
  makeCookie('centaur', '', { publicUrl: services.publicUrl(), seconds: 0, sameSite: 'Strict' });

function bindingCookie(value: string, services: Services): string {
  return makeCookie('centaur-signin', value, { publicUrl: services.publicUrl(), seconds: BINDING_SECONDS, sameSite: 'Lax' });
}

function signInOf(services: Services) {
  usersOf(services);
  if (services.signIn === undefined)
    throw new SignInError('NO_PROVIDER', 'no sign-in provider is configured: see sign_in in centaur.yaml; sign in with a password');
  return services.signIn;
}

function personOf({ session }: Call['caller']): SessionUser {
  if (session === undefined) throw new ApiError('FORBIDDEN', 'this is for people, by a session of theirs');
  return session;
}

function viewOf(user: SessionUser) {
  return {
    session_id: user.sessionId,
    user: { user_id: user.userId, name: user.name, display_name: user.displayName, role: user.role, roles: user.roles },
    scopes: SCOPES_OF_ROLE[user.role],
    kind: user.kind,
    how: user.how,
    has_password: user.hasPassword,
    proven_at: new Date(user.provenAt).toISOString(),
    expires_at: new Date(user.expiresAt).toISOString(),
  };
}
