namespace Storage.Client;
