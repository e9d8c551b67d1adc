/** Roles of principals. A gate names roles, so those of a user say who may vote. */
import { UserError } from '../users/index.ts';
import { setRoles } from '../vault/index.ts';
import { actorOf } from './route.ts';
import { type Caller, requireScope } from './scopes.ts';
import { installationOf, type Services } from './services.ts';

/**
 * Of a user, this is for admins: whoever looks after secrets does not say who votes. Given by a key, they end the user's sessions: nobody
 * votes on with what a key has made of them.
 *
 * @throws ApiError FORBIDDEN
 */
export async function giveRoles(services: Services, caller: Caller, principal: string, roles: readonly string[]): Promise<void> {
  const isUser = principal.startsWith('user:');
  if (isUser) requireScope(caller, 'admin');
  await setRoles(installationOf(services), actorOf(caller), principal, roles);
  if (!isUser || caller.user !== undefined) return;
  await services.users?.endSessions(actorOf(caller), principal.slice('user:'.length)).catch((error: unknown) => {
    // roles can be given before the user is added
    if (!(error instanceof UserError && error.code === 'USER_NOT_FOUND')) throw error;
  });
}
