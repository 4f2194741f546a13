// References of images, as people write them: registry, repository, and a tag or digest.

export interface ImageReference {
  /** Host of the registry; null: Docker's own. */
  readonly registry: string | null;
  /** All but tag and digest. */
  readonly name: string;
  /** Tag or digest, as the engine takes either; `latest` where none is given. */
  readonly version: string;
  readonly digest: string | null;
}

export function parseReference(text: string): ImageReference {
  const [named = '', digest = null] = text.split('@');
  const colon = named.indexOf(':', named.lastIndexOf('/') + 1);
  const name = colon === -1 ? named : named.slice(0, colon);
  const [first = '', ...rest] = name.split('/');
  const isHost = rest.length > 0 && (/[.:]/u.test(first) || first === 'localhost');
  return { registry: isHost ? first : null, name, version: digest ?? (colon === -1 ? 'latest' : named.slice(colon + 1)), digest };
}
