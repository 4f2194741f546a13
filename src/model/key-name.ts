// What Apps may call their keys and locks: nothing that has a meaning in a URL, or in a key of the store.

export const KEY_NAME: RegExp = /^[A-Za-z0-9._~:@-]{1,200}$/u;
export const KEY_PREFIX: RegExp = /^[A-Za-z0-9._~:@-]{0,200}$/u;
export const KEY_NAME_WORDS = 'must be letters, digits and . _ ~ : @ -, at most 200';
