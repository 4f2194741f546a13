// What may be a value or the name of a Secret, checked before anything is sealed. No message holds a value.

import { Failure } from '../../lib/failure.ts';

/** Sealed and encoded it still fits a store value. */
const VALUE_BYTES = 180 * 1024;

function sized(name: string, plain: Buffer): Buffer {
  if (plain.length > VALUE_BYTES)
    throw new Failure('too_large', { message: `The value of ${name} has ${plain.length} bytes; ${VALUE_BYTES} are allowed.` });
  return plain;
}

/** A value for an environment variable. Throws `invalid_input` or `too_large`. */
export function textValue(name: string, text: string): Buffer {
  if (text.includes('\0'))
    throw new Failure('invalid_input', { message: `The value of ${name} holds a NUL character, which no environment variable can.` });
  return sized(name, Buffer.from(text));
}

function base64Value(name: string, text: string): Buffer {
  const plain = Buffer.from(text, 'base64');
  if (plain.toString('base64').replace(/=+$/u, '') !== text.trim().replace(/=+$/u, '')) {
    throw new Failure('invalid_input', { message: `The value of the Secret ${name} is not valid base64.` });
  }
  return sized(name, plain);
}

/** Throws `invalid_input` where it may not be the name of a Secret. */
export function secretName(name: string): string {
  if (name.length > 100 || !/^[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?$/u.test(name)) {
    throw new Failure('invalid_input', {
      message: `${JSON.stringify(name.slice(0, 100))} is not a name of a Secret: lower-case letters, digits, dots, dashes, underscores.`,
    });
  }
  return name;
}

/** The bytes of a Secret. Throws `invalid_input` or `too_large`. */
export function secretValue(name: string, value: string, encoding: 'text' | 'base64'): Buffer {
  return encoding === 'base64' ? base64Value(name, value) : sized(name, Buffer.from(value));
}
