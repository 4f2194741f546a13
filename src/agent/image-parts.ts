// Takes a saved image apart into what a registry keeps of it: layers, configuration, and a manifest that names them. Each is a file by its
// digest, so that what images share is stored and sent once.

import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdtemp, open, readFile, rm } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { Readable } from 'node:stream';
import { Failure } from '../lib/failure.ts';
import type { BundleLimits } from '../sys/bundle-limits.ts';
import { bundleEntries } from '../sys/bundle-read.ts';
import { IMAGE_MANIFEST } from './image-mirror.ts';

export interface Part {
  readonly digest: string;
  readonly sizeBytes: number;
  readonly openStream: (start: number) => Readable;
}

export interface ImageParts {
  /** Of the OCI kind; it names all others. */
  readonly manifest: Part;
  /** Configuration and layers, each once. */
  readonly parts: readonly Part[];
  remove(): Promise<void>;
}

interface Saved {
  readonly path: string;
  readonly digest: string;
  readonly sizeBytes: number;
}

/** Layers, their folders and notes; Docker takes no more than 127 layers. */
const LIMITS: BundleLimits = { maxBytes: 64 * 1024 ** 3, maxEntries: 2000, maxPathBytes: 1000 };
const MAX_JSON_BYTES = 4 * 1024 * 1024;
const INDEX = 'manifest.json';
const CONFIG = 'application/vnd.oci.image.config.v1+json';
/** As it is saved: not compressed, so that its digest is the one that the configuration knows it by. */
const LAYER = 'application/vnd.oci.image.layer.v1.tar';

const sha256 = (bytes: Uint8Array): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

/** @param tar as `docker save` writes it, of either generation. `build_failed`: it is not like that. */
export async function takeApart(tar: AsyncIterable<Uint8Array>, tempFolder: string, signal: AbortSignal): Promise<ImageParts> {
  const folder = await mkdtemp(join(tempFolder, 'image-'));
  const remove = (): Promise<void> => rm(folder, { recursive: true, force: true });
  try {
    const files = await readFiles(tar, folder, signal);
    const [index] = await json(files, INDEX, isIndex);
    if (index === undefined) throw damaged(`${INDEX} names no image`);
    const config = fileAt(files, index.Config);
    const layers = index.Layers.map((path) => fileAt(files, path));
    const described = (mediaType: string, { digest, sizeBytes }: Saved): object => ({ mediaType, digest, size: sizeBytes });
    const manifest = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: IMAGE_MANIFEST,
        config: described(CONFIG, config),
        layers: layers.map((layer) => described(LAYER, layer)),
      }),
    );
    const once = new Map([config, ...layers].map((saved) => [saved.digest, saved]));
    return {
      manifest: { digest: sha256(manifest), sizeBytes: manifest.length, openStream: (start) => Readable.from([manifest.subarray(start)]) },
      parts: [...once.values()].map(({ path, digest, sizeBytes }) => ({
        digest,
        sizeBytes,
        openStream: (start) => createReadStream(path, { start }),
      })),
      remove,
    };
  } catch (error) {
    await remove();
    throw error;
  }
}

/** Every file of the archive, by its path there; what is a link there is the file that it leads to. */
async function readFiles(tar: AsyncIterable<Uint8Array>, folder: string, signal: AbortSignal): Promise<ReadonlyMap<string, Saved>> {
  const files = new Map<string, Saved>();
  const links = new Map<string, string>();
  for await (const { header, path: name, body } of bundleEntries(tar, LIMITS, signal)) {
    if (name === null) continue;
    if (header.type === 'symlink' || header.type === 'link') {
      const target = header.linkname ?? '';
      links.set(name, header.type === 'link' ? posix.normalize(target) : posix.join(posix.dirname(name), target));
    }
    if (header.type !== 'file') continue;
    const path = join(folder, String(files.size));
    const hash = createHash('sha256');
    const file = await open(path, 'wx', 0o600);
    try {
      for await (const chunk of body) {
        hash.update(chunk);
        await file.appendFile(chunk);
      }
    } finally {
      await file.close();
    }
    files.set(name, { path, digest: `sha256:${hash.digest('hex')}`, sizeBytes: header.size });
  }
  for (const [name, target] of links) {
    const found = files.get(target);
    if (found !== undefined) files.set(name, found);
  }
  return files;
}

function fileAt(files: ReadonlyMap<string, Saved>, path: string): Saved {
  const found = files.get(posix.normalize(path));
  if (found === undefined) throw damaged(`it lacks ${path}`);
  return found;
}

interface ImageIndex {
  readonly Config: string;
  readonly Layers: readonly string[];
}

function isIndex(value: unknown): value is readonly ImageIndex[] {
  const isOne = (each: unknown): boolean => {
    if (typeof each !== 'object' || each === null || !('Config' in each) || !('Layers' in each)) return false;
    return typeof each.Config === 'string' && Array.isArray(each.Layers) && each.Layers.every((path) => typeof path === 'string');
  };
  return Array.isArray(value) && value.every(isOne);
}

async function json<T>(files: ReadonlyMap<string, Saved>, path: string, is: (value: unknown) => value is T): Promise<T> {
  const file = fileAt(files, path);
  if (file.sizeBytes > MAX_JSON_BYTES) throw damaged(`${path} has more than ${MAX_JSON_BYTES} bytes`);
  const text = await readFile(file.path, 'utf8');
  try {
    const value: unknown = JSON.parse(text);
    if (is(value)) return value;
  } catch {
    // Told below.
  }
  throw damaged(`${path} is not as expected`);
}

const damaged = (what: string): Failure =>
  new Failure('build_failed', { message: `What Docker saved of an image cannot be taken apart: ${what}.` });
