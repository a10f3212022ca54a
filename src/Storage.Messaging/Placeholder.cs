namespace Storage.Messaging;
