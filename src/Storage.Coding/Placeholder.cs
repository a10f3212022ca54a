namespace Storage.Coding;
