"""What is on the topics: encoding and decoding of each record type in one place. It knows no client library."""
