/** Sealing values: AES-256-GCM under a key of their own, which the master key wraps. */
import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto';
import { VaultError } from './errors.ts';

/** The key that wraps all other keys. It never seals a value itself, so that changing it means wrapping keys anew and nothing else. */
export interface MasterKey {
  /** Names the key without telling anything about it; stored beside what it wrapped. */
  readonly id: string;
  wrap(key: Buffer): Promise<Buffer>;
  /** @throws VaultError MASTER_KEY_UNKNOWN when another key wrapped it */
  unwrap(wrapped: Buffer, keyId: string): Promise<Buffer>;
}

export interface Sealed {
  readonly ciphertext: Buffer;
  readonly wrappedKey: Buffer;
  readonly kekId: string;
}

const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** @param about what is sealed, authenticated with it: a row moved to another place no longer opens */
export async function seal(master: MasterKey, value: Buffer, about: string): Promise<Sealed> {
  const key = randomBytes(32);
  const sealed = { ciphertext: encrypt(key, value, about), wrappedKey: await master.wrap(key), kekId: master.id };
  key.fill(0);
  return sealed;
}

/** @throws VaultError SEAL_BROKEN when it was changed, or belongs elsewhere */
export async function open(master: MasterKey, sealed: Sealed, about: string): Promise<Buffer> {
  const key = await master.unwrap(sealed.wrappedKey, sealed.kekId);
  try {
    return decrypt(key, sealed.ciphertext, about);
  } catch (error) {
    throw new VaultError('SEAL_BROKEN', `${about}: what is stored was changed, or was sealed for another place`, { cause: error });
  } finally {
    key.fill(0);
  }
}

/**
 * A 32-byte key in this process. `earlier` ones still open what they sealed.
 *
 * @throws VaultError SEAL_BROKEN for a wrapped key that was changed
 */
export function localMasterKey(key: Buffer, earlier: readonly Buffer[] = []): MasterKey {
  const keys = new Map([key, ...earlier].map((each) => [localId(each), each]));
  const id = localId(key);
  return {
    id,
    wrap: (plain) => Promise.resolve(encrypt(key, plain, id)),
    unwrap: async (wrapped, keyId) => {
      const known = keys.get(keyId);
      if (known === undefined)
        throw new VaultError(
          'MASTER_KEY_UNKNOWN',
          `it was sealed under the master key ${keyId}, and this process has ${[...keys.keys()].join(', ')}`,
        );
      try {
        return decrypt(known, wrapped, keyId);
      } catch (error) {
        throw new VaultError('SEAL_BROKEN', 'a wrapped key was changed: it does not open under the master key that wrapped it', {
          cause: error,
        });
      }
    },
  };
}

function localId(key: Buffer): string {
  return `local:${createHash('sha256').update('centaur master key\n').update(key).digest('hex').slice(0, 12)}`;
}

export function encrypt(key: Buffer, plain: Buffer, about: string): Buffer {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv('aes-256-gcm', key, nonce);
  cipher.setAAD(Buffer.from(about));
  return Buffer.concat([nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
}

export function decrypt(key: Buffer, sealed: Buffer, about: string): Buffer {
  const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, NONCE_BYTES), { authTagLength: TAG_BYTES });
  decipher.setAAD(Buffer.from(about));
  decipher.setAuthTag(sealed.subarray(-TAG_BYTES));
  return Buffer.concat([decipher.update(sealed.subarray(NONCE_BYTES, -TAG_BYTES)), decipher.final()]);
}
