"""The main job, shown on a drawn site or a video: play it through Kafka, kill a worker, judge what came out."""
