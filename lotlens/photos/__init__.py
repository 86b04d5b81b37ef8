"""Where photos come from: files, archives and drawings become catalogs and arrays."""
