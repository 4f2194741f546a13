// What detection works on and what each detector hands over.

export interface FolderView {
  /** Name for the App, or what one can be made of (the folder's name). */
  readonly name: string;
  /** Paths of the files, relative, with `/`; the folder itself and one level below are enough. */
  readonly files: readonly string[];
  /** The text of a small file of the list, null where it cannot be read. */
  readonly read: (path: string) => string | null;
  /** Whether the platform can run images; default true. */
  readonly images?: boolean;
}

export interface Finding {
  readonly what: string;
  readonly why: string;
}

/** What a detector found; goes into the manifest as it is. */
export interface Draft {
  readonly build: {
    readonly commands?: readonly (readonly string[])[];
    readonly dockerfile?: string;
    readonly static?: string;
  };
  readonly env: Readonly<Record<string, string>>;
  readonly entrypoints: readonly { readonly name: string; readonly command: readonly string[] | null; readonly run?: 'before-deploy' }[];
  readonly findings: readonly Finding[];
}
