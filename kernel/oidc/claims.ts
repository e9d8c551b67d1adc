/** What of an ID token is believed. Its signature, issuer, audience and times have been checked. */
import type { IDToken } from 'openid-client';
import type { Claims, UserRole } from '../users/index.ts';
import { USER_ROLES } from '../users/index.ts';
import type { OidcSettings } from './index.ts';

export function readClaims(token: IDToken, { roles, newcomers }: Pick<OidcSettings, 'roles' | 'newcomers'>): Claims {
  const { iss, sub, email, email_verified: isVerified, name, preferred_username: nickname } = token;
  return {
    issuer: iss,
    subject: sub,
    // anybody may write any address into some providers
    email: isVerified === true && typeof email === 'string' ? email : undefined,
    displayName: typeof name === 'string' ? name : undefined,
    nickname: typeof nickname === 'string' && nickname !== '' ? nickname : undefined,
    // whoever is in none of the groups any more is what a newcomer is
    role: roles === undefined ? undefined : (highest(valuesOf(token[roles.claim]), roles.byValue) ?? newcomers ?? 'viewer'),
  };
}

function valuesOf(claim: unknown): readonly string[] {
  return (Array.isArray(claim) ? (claim as unknown[]) : [claim]).filter((value) => typeof value === 'string');
}

function highest(values: readonly string[], byValue: Readonly<Record<string, UserRole>>): UserRole | undefined {
  const given = new Set(values.flatMap((value) => (Object.hasOwn(byValue, value) ? [byValue[value]] : [])));
  return USER_ROLES.toReversed().find((role) => given.has(role));
}
